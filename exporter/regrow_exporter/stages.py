"""Say where an export is. Nothing in Python unless asked; on the command line a bar, or a line per stage.

`at` places the ordinary work on a scale from 0 to 1; `counted` is for work whose parts have a number, such as
episodes, which gets a bar of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, Self, TextIO

from regrow.progress import Progress, Told

_SCALE = 100


class Stages(Protocol):
    """What an export tells its caller."""

    def at(self, says: str, share: float) -> None:
        """The share of the ordinary work that is done, and what comes next."""

    def counted(self, says: str, total: int) -> AbstractContextManager[Told]:
        """A job of `total` parts; its updates count from 0 to that."""


class Silent:
    """Says nothing."""

    def at(self, says: str, share: float) -> None:
        """Nothing."""

    @contextmanager
    def counted(self, says: str, total: int) -> Iterator[Told]:
        """Nothing."""
        yield self

    def update(self, done: int, **figures: float) -> None:
        """Nothing."""


class Part:
    """A piece of a counted job: the whole counts on from `start` while the piece counts from 0."""

    def __init__(self, whole: Told, start: int) -> None:
        self.whole, self.start = whole, start

    def update(self, done: int, **figures: float) -> None:
        """`done` of this piece are finished."""
        self.whole.update(self.start + done, **figures)


class Shown:
    """On a terminal one bar with the time left; elsewhere a line per stage, as a log wants it."""

    def __init__(
        self, name: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._clock = name, clock
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._began = clock()
        self._bar: Progress | None = None
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def at(self, says: str, share: float) -> None:
        """Move the bar, or write the line where it is a new one."""
        done = round(_SCALE * share)
        if self._live:
            bar = self._open(done)
            bar.label = f"{self._name}: {says}"
            bar.update(done)
        elif says != self._said:
            self._stream.write(f"{self._name}: {self._clock() - self._began:6.1f} s  {says}\n")
            self._stream.flush()
        self._said = says

    @contextmanager
    def counted(self, says: str, total: int) -> Iterator[Told]:
        """A bar of its own; the ordinary one goes on below it."""
        self._close()
        with Progress(total, f"{self._name}: {says}", stream=self._stream, clock=self._clock) as progress:
            yield progress

    def _open(self, done: int) -> Progress:
        if self._bar is None:
            self._bar = Progress(_SCALE, self._name, stream=self._stream, clock=self._clock)
            self._bar.start_at(done)
        return self._bar

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
