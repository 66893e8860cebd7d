"""What is compared: each is a bundle that a device could be given, and nearest class mean without one."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.studies.nets import NARROW, OURS, PLAIN, PRUNED, SCRATCH

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
