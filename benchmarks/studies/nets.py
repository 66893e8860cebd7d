"""The networks of a study, made by the `regrow` command line: finished ones are reused, others resumed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from benchmarks.studies.study import Study
from regrow import checkpoint
from regrow.cli import main
from regrow.files import atomic_write

# Trained as a device adapts; with few weights; with few channels; without meta-learning; not at all.
OURS, PRUNED, NARROW, PLAIN, SCRATCH = "meta", "pruned", "narrow", "plain", "scratch"
NETS = (OURS, PRUNED, NARROW, PLAIN, SCRATCH)
_BASE, _SECONDS = "base", "seconds.json"
# Of a network that learned no rates; what a device uses is chosen later.
_RULE = ('rule={ name = "sgd", args = { lr = 0.01 } }', "learner.steps=1", "train.rule_lr=0")


@dataclass(frozen=True)
class Place:
    """A study's folder of runs; `sets` are settings that all its trainings get, for a quick pass."""

    folder: Path
    sets: tuple[str, ...] = ()

    def checkpoint(self, net: str) -> Path:
        return self.folder / net / "best.safetensors"

    def bundle(self, name: str) -> Path:
        return self.folder / f"{name}.regrow"


def command(words: Sequence[str]) -> str:
    """Run the `regrow` command line, in this process: importing torch anew takes longer than most of it."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = main(words)
    if code:
        raise SystemExit(f"regrow {' '.join(words)}: exit code {code}, expected 0; what it said is above")
    return printed.getvalue()


def trainings(study: Study, place: Place) -> dict[str, list[str]]:
    """Net -> words after `regrow`, in the order they need each other.

    The dense network goes on from the base for as many iterations as the pruned ones are given.
    """
    recipe, base = str(study.recipe_path), str(place.checkpoint(_BASE))
    more = [f"train.iterations={study.retrain}"]
    plain = ["train.strategy=plain", *study.plain, *_RULE]
    settings = _sets(place.sets)
    again = ["--retrain", str(study.retrain), *_sets(s for s in place.sets if "iterations" not in s)]
    return {
        _BASE: ["train", recipe, *settings],
        OURS: ["train", recipe, *settings, *_sets(more), "--start", base],
        PRUNED: ["prune", base, *study.prune, *again],
        NARROW: ["prune", base, *study.narrow, *again],
        PLAIN: ["train", recipe, *_sets(plain), *settings],
        SCRATCH: ["train", recipe, *settings, *_sets([*_RULE, "train.iterations=0"])],
    }


def _sets(settings: Iterable[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def made(study: Study, place: Place) -> dict[str, float]:
    """Make every network that is not there yet; seconds that each took, over all tries that ended well."""
    place.folder.mkdir(parents=True, exist_ok=True)
    path = place.folder / _SECONDS
    seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for net, words in trainings(study, place).items():
        if net in seconds:
            continue
        folder, began = place.folder / net, time.monotonic()
        # A run that was stopped before its first save has nothing to resume.
        begun = ["--resume"] if (folder / "last.safetensors").exists() else ["--force"]
        command([*words, "-o", str(folder), "--workers", "1", *begun])
        seconds[net] = round(time.monotonic() - began, 1)
        keep_seconds(place, seconds)
    return seconds


def keep_seconds(place: Place, seconds: Mapping[str, float]) -> None:
    """Note how long the steps took."""
    atomic_write(place.folder / _SECONDS, json.dumps(seconds, indent=1).encode())


def facts(place: Place, net: str) -> dict[str, object]:
    """What a network's checkpoint says of it."""
    saved = checkpoint.read(place.checkpoint(net))
    weights = sum(p.size for p in saved.params.values())
    gone = sum(int((~m).sum()) for m in saved.masks.values())
    return {
        "weights": weights,
        "kept": weights - gone,
        "adaptable": list(saved.adaptable),
        "meta_iterations": saved.provenance.get("meta_iterations", saved.iteration),
    }
