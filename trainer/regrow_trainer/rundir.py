"""What a run's folder holds, and when it may be written to.

`last.safetensors` resumes the run; `best.safetensors` is the learner to prune or export; `metrics.jsonl`
tells the story. Both checkpoints are replaced whole, so a kill at any moment leaves a folder that resumes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from regrow.errors import RegrowError


@dataclass(frozen=True)
class RunDir:
    """Paths inside a run's folder."""

    path: Path

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"


def open_run(path: Path, *, resume: bool, force: bool) -> RunDir:
    """Create the folder, or accept the one there is if the caller said what to do with it."""
    run = RunDir(path)
    if path.exists() and not path.is_dir():
        raise RegrowError(f"{path}: is a file, expected a folder for the run; choose another -o")
    found = [p for p in (run.last, run.best, run.metrics) if p.exists()]
    if resume and not run.last.exists():
        raise RegrowError(f"{path}: holds no last.safetensors to resume from; run without --resume")
    if found and force and not resume:
        for old in found:
            old.unlink()
        shutil.rmtree(path / "tensorboard", ignore_errors=True)
    elif found and not resume:
        raise RegrowError(
            f"{path}: holds a run already ({found[0].name}), expected a new folder; "
            "add --resume to go on with it, --force to replace it, or choose another -o"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegrowError(f"{path}: cannot be created: {error.strerror}; choose another -o") from error
    return run
