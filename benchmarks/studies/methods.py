"""What is compared: each is a bundle that a device could be given, and nearest class mean without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.studies.choose import with_rule
from benchmarks.studies.nets import NARROW, OURS, PLAIN, PRUNED, SCRATCH, Place, command
from benchmarks.studies.study import Candidate
from regrow import checkpoint

INT8 = ("--precision", "int8")
METRIC = ("--rule", "prototype")


@dataclass(frozen=True)
class Method:
    """A network and how it is exported; the title is what the page calls it."""

    title: str
    net: str
    options: tuple[str, ...] = ()

    @property
    def metric(self) -> bool:
        """Whether it is nearest class mean on the network's features."""
        return "--rule" in self.options


METHODS: dict[str, Method] = {
    "ours": Method("meta-trained", OURS),
    "ours-int8": Method("meta-trained, int8", OURS, INT8),
    "pruned": Method("meta-trained, pruned", PRUNED),
    "pruned-int8": Method("meta-trained, pruned, int8", PRUNED, INT8),
    "narrow": Method("meta-trained, fewer channels", NARROW),
    "narrow-int8": Method("meta-trained, fewer channels, int8", NARROW, INT8),
    "plain": Method("plainly trained, fine-tuned", PLAIN),
    "scratch": Method("trained on the support alone", SCRATCH),
    "means-ours": Method("class means, meta-trained features", OURS, METRIC),
    "means-plain": Method("class means, plain features", PLAIN, METRIC),
}
RAW = "means-raw"
TITLES = {**{name: m.title for name, m in METHODS.items()}, RAW: "class means, no network"}


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
