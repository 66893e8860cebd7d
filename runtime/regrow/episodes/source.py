"""What a data source is, and the table of those that have a name.

A class source hands out samples by (class, sample) number and knows nothing of episodes. A group source holds
one class source per person or device. A task source (a regression problem has no classes) makes its episodes
itself. A new source is one file and one row of SOURCES.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from regrow.datasets.catalog import DATASETS
from regrow.errors import SampleError

# name -> "module:function"; the function takes the text after the colon, then keyword arguments.
SOURCES: dict[str, str] = {
    "glyphs": "regrow.episodes.glyphs:glyphs",
    "sine": "regrow.episodes.sine:sine",
    "files": "regrow.episodes.files:files",
    "users": "regrow.episodes.users:users",
    **{name: f"regrow.datasets.sources:{name}" for name in DATASETS},
    "mixture": "regrow.episodes.mixture:mixture",
}


Targets = NDArray[np.int64 | np.float32]


@dataclass(frozen=True)
class Episode:
    """One few-shot problem. x: (items, *sample_shape) float32; y: (items,) int64, or (items, 1) float32.

    Items stand class by class: label j names classes[j], and which class gets which label was drawn.
    """

    support_x: NDArray[np.float32]
    support_y: Targets
    query_x: NDArray[np.float32]
    query_y: Targets
    classes: tuple[str, ...]


class ClassSource(Protocol):
    """Samples of named classes."""

    @property
    def task(self) -> Literal["classification"]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def sample_shape(self) -> tuple[int, ...]: ...
    def samples(self, class_index: int) -> int:
        """How many samples the class has."""

    def take(self, class_index: int, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The named samples of a class, (len(indices), *sample_shape)."""


@runtime_checkable
class BlockedSource(Protocol):
    """A class source some of whose samples belong together: no episode has one block on both sides."""

    def blocks(self, class_index: int) -> NDArray[np.int64] | None:
        """The block of every sample of a class; None where each stands alone."""


@runtime_checkable
class TurningSource(Protocol):
    """A class source of pictures whose classes are turned by 0, 90, 180 or 270 degrees, drawn per episode."""

    @property
    def turning(self) -> bool:
        """Whether they are."""


@runtime_checkable
class GroupSource(Protocol):
    """Samples of the same classes from several people or devices; an episode stays with one of them.

    Classes are the same for everyone, so an episode of all of them keeps their order: label j is classes[j].
    """

    @property
    def task(self) -> Literal["classification"]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def sample_shape(self) -> tuple[int, ...]: ...
    def samples(self, class_index: int) -> int:
        """How many samples all groups have of a class."""

    def group(self, index: int) -> ClassSource:
        """What one of `groups` recorded."""


class TaskSource(Protocol):
    """Problems without classes: support and query points of one drawn task."""

    @property
    def task(self) -> Literal["regression"]: ...
    @property
    def sample_shape(self) -> tuple[int, ...]: ...
    def episode(self, k_shot: int, queries: int, seed: int, index: int) -> Episode:
        """Task number `index` of `seed`."""


Source = ClassSource | GroupSource | TaskSource


def open_source(spec: str, **args: Any) -> Source:
    """Open "name" or "name:part", e.g. "glyphs:test", "sine", "files:letters.npz"."""
    name, _, part = spec.partition(":")
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(SOURCES)}"
        raise SampleError(f"source {spec!r}: no source is called {name!r}; {hint}")
    module, _, function_name = SOURCES[name].partition(":")
    function = getattr(import_module(module), function_name)
    try:
        signature(function).bind(part, **args)
    except TypeError as error:
        raise SampleError(
            f"source {spec!r}: {error}; it takes {', '.join(list(signature(function).parameters)[1:])}"
        ) from error
    return cast(Source, function(part, **args))


def open_classes(spec: str, **args: Any) -> ClassSource:
    """Open a source that must have classes."""
    source = open_source(spec, **args)
    if source.task != "classification" or isinstance(source, GroupSource):
        raise SampleError(f"source {spec!r}: is no plain set of classes, expected one; use another source")
    return source
