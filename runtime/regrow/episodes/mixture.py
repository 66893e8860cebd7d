"""A mixture of sources: every episode comes from one of them, each as likely, the same one for everybody.

In a recipe: `train = "mixture:train"`, `args = { parts = [{ source = "sine", args = { x = [0, 5] } }] }`;
`only = 1` makes it the second of them alone, `shape = [1, 28, 28]` brings images of all of them to one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from regrow.episodes.draws import Draws
from regrow.episodes.fitted import fitted
from regrow.episodes.source import Source, open_classes, open_source
from regrow.errors import SampleError


@dataclass(frozen=True)
class Mixture:
    """`sources` have one task and one sample shape."""

    sources: tuple[Source, ...]

    @property
    def task(self) -> Literal["classification", "regression"]:
        return self.sources[0].task

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.sources[0].sample_shape

    def choose(self, seed: int, index: int) -> Source:
        """The source of episode `index`."""
        return self.sources[int(Draws("mixture", seed, index).below(1, len(self.sources))[0])]


def mixture(
    part: str = "",
    *,
    parts: Sequence[Mapping[str, Any]],
    only: int | None = None,
    shape: Sequence[int] = (),
) -> Mixture:
    """Open the same part of several sources, or of the one of that number, from 0."""
    if not parts or any(set(p) - {"source", "args"} or "source" not in p for p in parts):
        raise SampleError(
            f"source 'mixture:{part}': parts are {parts!r}, expected a list of {{source, args}}; correct them"
        )
    if only is not None:
        if isinstance(only, bool) or not isinstance(only, int) or not 0 <= only < len(parts):
            raise SampleError(
                f"source 'mixture:{part}': only is {only!r}, expected a number from 0 to {len(parts) - 1}"
            )
        parts = [parts[only]]
    specs = [(f"{p['source']}:{part}" if part else str(p["source"]), p.get("args", {})) for p in parts]
    sources: tuple[Source, ...] = (
        tuple(fitted(open_classes(spec, **args), shape, f"source {spec!r}") for spec, args in specs)
        if shape
        else tuple(open_source(spec, **args) for spec, args in specs)
    )
    kinds = {(source.task, tuple(source.sample_shape)) for source in sources}
    if len(kinds) > 1:
        raise SampleError(
            f"source 'mixture:{part}': its parts are {sorted(map(str, kinds))}, expected one task and shape; "
            "mix sources that fit one network, or give images one `shape`"
        )
    return Mixture(sources)
