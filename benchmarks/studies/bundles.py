"""The bundles of a study, exported by the `regrow` command line as the protocol says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.studies.choose import with_rule
from benchmarks.studies.methods import METHODS
from benchmarks.studies.nets import Place, command
from benchmarks.studies.study import Candidate
from regrow import checkpoint


def exported(place: Place, chosen: Mapping[str, Any]) -> dict[str, Path]:
    """Every method's bundle, with the rule and the steps of the protocol."""
    made = {}
    for name, method in METHODS.items():
        made[name] = bundle = place.bundle(name)
        if not bundle.exists():
            path = _with_choice(place, method.net, chosen[method.net])
            command(["export", str(path), "-o", str(bundle), *method.options])
    return made


def _with_choice(place: Place, net: str, choice: Mapping[str, Any]) -> Path:
    """The checkpoint under the chosen rule, with the chosen number of steps."""
    path = place.folder / net / "chosen.safetensors"
    candidate = Candidate(**choice["candidate"]) if choice["candidate"] else None
    saved = with_rule(checkpoint.read(place.checkpoint(net)), candidate)
    checkpoint.write(path, replace(saved, steps=choice["steps"]))
    return path
