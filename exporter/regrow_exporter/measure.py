"""Measure a written draft on few-shot episodes, as a device would run it. Torch plays no part.

Every draft of one export sees the same episodes, so their differences are paired.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.bench.stats import Spread, spread
from regrow.episodes import SOURCES, Episode, Source, open_source, sample
from regrow.episodes.files import files
from regrow.errors import AdaptError, SampleError, UnsupportedError
from regrow.evaluate import Evaluation, Sizes, evaluate
from regrow.manifest import InputSpec
from regrow.model import Model
from regrow.progress import Told
from regrow_exporter.stages import Part

WARM_UP = 2
ROUNDS = 20
TRIED = 10


@dataclass(frozen=True)
class Episodes:
    """Which episodes an export is measured on. `n_way` None: as many as the model has outputs; `k_shot`: 1.

    `source` is "glyphs:val", "files:PATH", the path of a file or folder of labelled samples, or an open one.
    """

    source: str | Source
    n_way: int | None = None
    k_shot: int | None = None
    queries: int = 15
    count: int = 200
    seed: int = 0
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """Episodes that fit the model: an open source, what to call it, and the sizes."""

    source: Source
    name: str
    sizes: Sizes

    @property
    def support(self) -> int:
        """Support samples of one episode."""
        return self.sizes["n_way"] * self.sizes["k_shot"]

    def to_json(self) -> dict[str, Any]:
        """What it takes to draw them again."""
        return {"source": self.name, **self.sizes}


@dataclass(frozen=True)
class Measured:
    """Scores of the same episodes before and after adaptation."""

    before: Evaluation
    after: Evaluation

    @property
    def gain(self) -> Evaluation:
        """What adapting brings, episode by episode: accuracy, or how much the squared error falls."""
        better, worse = self.after, self.before
        return better.minus(worse) if better.metric == "accuracy" else worse.minus(better)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "gain": interval(self.gain),
        }


def interval(difference: Evaluation) -> dict[str, Any]:
    """Mean and half width of its 95 % interval alone."""
    made = difference.to_json()
    return {key: made[key] for key in ("mean", "half_width")}


def draw(asked: Episodes | str | Source, spec: InputSpec, outputs: int, labelled: bool) -> Drawn:
    """Open the source and check that its episodes fit, before any of the expensive work."""
    asked = asked if isinstance(asked, Episodes) else Episodes(asked)
    source, name = _open(asked, spec)
    regression = source.task == "regression"
    if regression == labelled:
        kind = "class numbers" if labelled else "numbers to fit"
        raise UnsupportedError(
            f"export: episodes {name}: are for {source.task}, expected {kind} as the loss takes them; "
            "choose another source or loss"
        )
    if tuple(source.sample_shape) != spec.shape:
        raise SampleError(
            f"export: episodes {name}: samples of shape {tuple(source.sample_shape)}, expected {spec.shape} "
            "as the model takes them; choose another source"
        )
    ways, shots = 1 if regression else asked.n_way or outputs, asked.k_shot or 1
    if not regression and ways > outputs:
        raise SampleError(
            f"export: episodes of {ways} classes, expected at most {outputs}, the model's "
            "outputs; ask for fewer"
        )
    if asked.count < 1 or asked.queries < 1:
        raise SampleError(
            f"export: {asked.count} episodes of {asked.queries} queries, expected one or more of each; "
            "raise it"
        )
    sample(source, ways, shots, asked.queries, asked.seed, 0)
    sizes = Sizes(n_way=ways, k_shot=shots, queries=asked.queries, episodes=asked.count, seed=asked.seed)
    return Drawn(source, name, sizes)


def _open(asked: Episodes, spec: InputSpec) -> tuple[Source, str]:
    if not isinstance(asked.source, str):
        return asked.source, type(asked.source).__name__
    kind, _, part = asked.source.partition(":")
    if kind not in SOURCES and Path(asked.source).exists():
        kind, part = "files", asked.source
    if kind != "files":
        return open_source(asked.source, **asked.args), asked.source
    # Only the file's own name: a bundle must not depend on where it was made.
    return files(
        part, **{"shape": spec.shape, "invert": spec.invert, **asked.args}
    ), f"files:{Path(part).name}"


def measure(model: Model, drawn: Drawn, told: Told) -> Measured:
    """Both scores; `told` counts 2 parts per episode."""
    sizes = drawn.sizes
    before = evaluate(model, drawn.source, steps=0, progress=told, **sizes)
    part = Part(told, sizes["episodes"])
    return Measured(before, evaluate(model, drawn.source, progress=part, **sizes))


def delta_bytes(model: Model, drawn: Drawn, folder: Path) -> int:
    """Size of the file that saving leaves after the first episode whose adaptation was not rolled back."""
    session = model.session()
    for index in range(min(drawn.sizes["episodes"], TRIED)):
        episode = _episode(drawn, index)
        try:
            session.adapt(episode.support_x, episode.support_y)
            break
        except AdaptError:
            continue
    path = folder / "measured.delta"
    session.save(path)
    size = path.stat().st_size
    path.unlink()
    return size


def adapt_ms(models: Sequence[Model], drawn: Drawn, told: Told) -> list[Spread]:
    """Milliseconds of one adaptation from fresh, per model: median and 95 % interval of turns in rotation."""
    episode = _episode(drawn, 0)
    taken: list[list[float]] = [[] for _ in models]
    for turn in range(WARM_UP + ROUNDS):
        for model, record in zip(models, taken, strict=True):
            session = model.session()
            began = time.perf_counter()
            with suppress(AdaptError):
                session.adapt(episode.support_x, episode.support_y)
            if turn >= WARM_UP:
                record.append((time.perf_counter() - began) * 1e3)
        told.update(turn + 1)
    return [spread(record) for record in taken]


def _episode(drawn: Drawn, index: int) -> Episode:
    sizes = drawn.sizes
    return sample(
        drawn.source, sizes["n_way"], sizes["k_shot"], sizes["queries"], seed=sizes["seed"], index=index
    )
