"""The side of a benchmark that measures: start a subject as a child process and ask it things."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from regrow import engines
from regrow.cli.command import importable
from regrow.errors import RegrowError

# One thread each: a device has few cores, and a pool that spins would slow its peers down.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ONE_THREAD: Mapping[str, str] = dict.fromkeys(THREADS, "1")


@dataclass(frozen=True)
class Peer:
    """A subject and how its process is started for a bundle and an episode."""

    name: str
    words: Callable[[str, str], list[str]]

    def start(self, bundle: str, episode: str) -> Child:
        """Its process, ready to be asked."""
        return Child(self.name, [sys.executable, "-m", *self.words(bundle, episode)], ONE_THREAD)


def found() -> list[Peer]:
    """Every engine that can run here, and torch where it is installed."""
    peers = [Peer(name, _engine(name)) for name in engines.available()]
    if importable("torch") and importable("regrow_trainer"):
        peers.append(Peer("torch", lambda bundle, episode: ["regrow_trainer.peer", bundle, episode]))
    return peers


def _engine(name: str) -> Callable[[str, str], list[str]]:
    return lambda bundle, episode: ["regrow.bench.engine", bundle, episode, name]


class RefusedError(RegrowError):
    """The subject cannot do this bundle; the others still can."""


class Child:
    """A running subject. Leaving the `with` block ends it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        patience: float | None = None,
    ) -> None:
        """A process that has said nothing after `patience` seconds is ended: TimeoutError."""
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | environment,
            text=True,
        )
        out = self._process.stdout
        if patience is not None and out is not None and not select.select([out], [], [], patience)[0]:
            self._process.kill()
            self._process.wait()
            self.close()
            raise TimeoutError(f"bench: {name}: said nothing for {patience} s; give it more patience")
        self.first = self._read()
        self.cold_ms = (time.perf_counter() - began) * 1e3

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, *words: object) -> Mapping[str, Any]:
        """One request, one answer."""
        stdin = self._process.stdin
        if stdin is None:
            raise RefusedError(f"bench: {self.name}: has no input; start it again")
        try:
            stdin.write(" ".join(map(str, words)) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._read()

    def close(self) -> None:
        """End the process, politely where it still listens."""
        try:
            self._process.communicate("quit\n", timeout=10)
        except (BrokenPipeError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _read(self) -> Mapping[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._died()
        message: Mapping[str, Any] = json.loads(line)
        if "refused" in message:
            self.close()
            raise RefusedError(f"bench: {self.name}: {message['refused']}")
        return message

    def _died(self) -> RefusedError:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return RefusedError(
            f"bench: {self.name}: its process ended with {self._process.returncode} "
            f"({said[-1] if said else 'said nothing'}), expected an answer; run it alone to see why"
        )
