"""Show how far a long job is and how long it will still take, on stderr. Silent for jobs under two seconds.

On a terminal one line is redrawn; elsewhere a plain line is written every ten seconds. Needs no package.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Protocol, Self, TextIO, TypeVar

T = TypeVar("T")

SHOW_ABOVE = 2.0  # seconds a job must be expected to take before it is worth a line
_WATCH, _REDRAW, _LINE = 0.5, 0.1, 10.0
_WIDTH = 24


class Told(Protocol):
    """Whatever wants to know how far a job is."""

    def update(self, done: int, **figures: float) -> None: ...


class Progress:
    """`with Progress(total, label) as p: p.update(n, loss=0.3)`; `n` counts from 0 to `total`."""

    def __init__(
        self,
        total: int | None,
        label: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.label = label
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._clock = clock
        self._done, self._resumed = 0, 0
        self._figures: dict[str, float] = {}
        self._began = self._drawn = clock()
        self._shown = 0  # width of the line on the terminal, to blank what a shorter one leaves

    def __enter__(self) -> Self:
        self._began = self._drawn = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.total != 0 and (self._shown or self._clock() - self._began > SHOW_ABOVE):
            self._write(final=True)

    def start_at(self, done: int) -> None:
        """Work that an earlier run did; it says nothing about the speed of this one."""
        self._done = self._resumed = done

    def update(self, done: int, **figures: float) -> None:
        """`done` of `total` are finished; the figures are shown beside it."""
        self._done, self._figures = done, figures
        now = self._clock()
        if now - self._drawn >= (_REDRAW if self._live and self._shown else _WATCH if self._live else _LINE):
            if self._live and not self._shown and self._expected(now) < SHOW_ABOVE:
                return
            self._drawn = now
            self._write()

    def _expected(self, now: float) -> float:
        left = self._left(now)
        return SHOW_ABOVE if left is None else now - self._began + left

    def _left(self, now: float) -> float | None:
        """Seconds still to go, None while unknown."""
        made = self._done - self._resumed
        if self.total is None or made <= 0:
            return None
        return (now - self._began) * (self.total - self._done) / made

    def _write(self, *, final: bool = False) -> None:
        now = self._clock()
        line = self._line(now)
        if self._live:
            self._stream.write("\r" + line.ljust(self._shown) + ("\n" if final else ""))
            self._shown = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _line(self, now: float) -> str:
        parts = [self.label]
        if self.total:
            share = min(1.0, self._done / self.total)
            full = round(share * _WIDTH)
            parts += (
                [f"[{'#' * full}{'.' * (_WIDTH - full)}] {share:4.0%}"] if self._live else [f"{share:4.0%}"]
            )
        parts.append(f"{self._done}/{self.total}" if self.total else str(self._done))
        parts += [f"{name} {value:.4g}" for name, value in self._figures.items()]
        left = self._left(now)
        ended = self.total is not None and self._done >= self.total
        parts.append(f"{_time(now - self._began)} taken" if ended or left is None else f"{_time(left)} left")
        return "  ".join(parts)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Pass the items on, showing progress."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, label) as progress:
        for count, item in enumerate(items, 1):
            yield item
            progress.update(count)


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
