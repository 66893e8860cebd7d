"""Run commands in order, each in a process of its own, and remember what is done. Knows no command by name.

A step is done when its record carries its key and its files are there. The key covers what the run rests on
and every step before, so that whatever could change an outcome makes the rest run again. A step that can
resume keeps its files when it was interrupted and its key is the same.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TextIO, TypedDict

from regrow.errors import RegrowError
from regrow.files import atomic_write

RECORD = "steps.json"
PLAIN = "import sys; from regrow.cli import main; sys.exit(main())"
TORCHLESS = "import sys; from regrow.demo.torchless import main; sys.exit(main(sys.argv[1:]))"


class Entry(TypedDict):
    """What is remembered of a step; without seconds it did not finish."""

    key: str
    seconds: NotRequired[float]


@dataclass(frozen=True)
class Step:
    """One command line and the paths that it makes."""

    name: str
    says: str
    command: tuple[str, ...]
    makes: tuple[str, ...]
    # Where the command's standard output is kept, if it is wanted.
    prints: str | None = None
    # Whether to run where importing torch is an error.
    torch_free: bool = False
    # The file that, if an interrupted run left it, lets `--resume` go on.
    resumes: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every path that must be there when the step is done."""
        return (*self.makes, *([self.prints] if self.prints else []))

    @property
    def line(self) -> str:
        """What a person would type."""
        kept = f" > {shlex.quote(self.prints)}" if self.prints else ""
        return shlex.join(("regrow", *self.command)) + kept


def keys(steps: Sequence[Step], ground: str) -> list[str]:
    """A key per step: its command and all that went before, upon what the whole run rests on."""
    made = []
    for step in steps:
        ground = hashlib.sha256(f"{ground}\n{step.line}\n{step.torch_free}".encode()).hexdigest()
        made.append(ground)
    return made


def digest(files: Iterable[Path]) -> str:
    """One digest of many files' bytes."""
    total = hashlib.sha256()
    for path in files:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def run_all(steps: Sequence[Step], ground: str, folder: Path, out: TextIO) -> dict[str, float]:
    """Run what is not done yet; the seconds each step took when it ran."""
    folder.mkdir(parents=True, exist_ok=True)
    record = _read(folder)
    for number, (step, key) in enumerate(zip(steps, keys(steps, ground), strict=True), 1):
        note = "  # in a process that cannot import torch" if step.torch_free else ""
        out.write(f"\n[{number}/{len(steps)}] {step.says}\n$ {step.line}{note}\n")
        out.flush()
        known = record.get(step.name, Entry(key=""))
        if known["key"] == key and "seconds" in known and all(Path(p).exists() for p in step.files):
            out.write(f"done before, in {known['seconds']:.0f} s: reused\n")
            continue
        resume = known["key"] == key and step.resumes is not None and Path(step.resumes).exists()
        if resume:
            out.write("interrupted before: goes on from there\n")
            out.flush()
        else:
            _remove(step)  # commands refuse to overwrite
        record[step.name] = Entry(key=key)
        _write(folder, record)
        record[step.name] = Entry(key=key, seconds=_run(step, resume))
        _write(folder, record)
    return {step.name: record[step.name]["seconds"] for step in steps}


def _run(step: Step, resume: bool) -> float:
    began = time.perf_counter()
    code = _start(step, ["--resume"] if resume else [])
    if code:
        raise RegrowError(
            f"step {step.name!r}: exit code {code}, expected 0; mend what it said above and run the same "
            "command again: finished steps are reused"
        )
    missing = [path for path in step.files if not Path(path).exists()]
    if missing:
        raise RegrowError(f"step {step.name!r}: made no {missing[0]}, expected it; run the command again")
    return time.perf_counter() - began


def _start(step: Step, more: list[str]) -> int:
    """Run the child to its end; its progress goes to our standard error."""
    line = [sys.executable, "-c", TORCHLESS if step.torch_free else PLAIN, *step.command, *more]
    if not step.prints:
        return _wait(subprocess.Popen(line, stdout=sys.stderr))
    part = Path(step.prints + ".part")
    with part.open("wb") as kept:
        code = _wait(subprocess.Popen(line, stdout=kept))
    if code == 0:
        part.replace(step.prints)
    else:
        part.unlink()
    return code


def _wait(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait()
    except KeyboardInterrupt:
        # The terminal told the child too: let it leave its files in order before we go.
        child.wait()
        raise


def _remove(step: Step) -> None:
    for name in step.files:
        path = Path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Entry]:
    try:
        found: dict[str, Entry] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # nothing is lost: the steps run again
    return found


def _write(folder: Path, record: dict[str, Entry]) -> None:
    atomic_write(folder / RECORD, json.dumps(record, indent=1).encode())
