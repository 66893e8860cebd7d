"""Which output of the head stands for which class, and how many samples each has had. Immutable.

Classes are named (strings) or numbered (ints), never both in one session. Names take free outputs in the
order they first appear; a bundle with labels of its own fixes them. Numbers are the outputs, without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regrow.errors import SampleError
from regrow.manifest import Manifest

PLACE = "labels"


@dataclass(frozen=True)
class Classes:
    """`counts[i]` samples were seen of output i; `names` is None while classes are numbered or unknown."""

    min_ways: int
    max_ways: int
    fixed: bool
    names: tuple[str, ...] | None
    counts: tuple[int, ...]

    @property
    def seen(self) -> int:
        """How many classes have samples."""
        return sum(count > 0 for count in self.counts)

    def active(self) -> NDArray[np.bool_]:
        """The outputs in use: those seen, or all of them before the first adaptation."""
        if self.seen:
            return np.array(self.counts) > 0
        return np.arange(len(self.counts)) < (len(self.names or ()) if self.fixed else len(self.counts))

    def name(self, outputs: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.str_]:
        """What the user calls these outputs."""
        if self.names is None:
            return outputs
        # A free output can only be predicted where nothing was learned yet; it has no name to give.
        padded = (*self.names, *(f"output {i}" for i in range(len(self.names), len(self.counts))))
        return np.array(padded)[outputs]

    def count(self, label: str | int) -> int:
        """How many samples of a class were seen, by what the user calls it."""
        keys: Sequence[str | int] = range(len(self.counts)) if self.names is None else self.names
        return self.counts[keys.index(label)] if label in keys else 0

    def assign(self, y: ArrayLike, count: int) -> tuple[NDArray[np.int64], Classes]:
        """Labels of `count` samples as outputs, and the bookkeeping once they are learned."""
        raw = as_labels(y, count)
        after = self._named(raw) if raw.dtype.kind == "U" else self._numbered(raw)
        if raw.dtype.kind == "U":
            index = {name: i for i, name in enumerate(after.names or ())}
            raw = np.array([index[str(name)] for name in raw])
        outputs = raw.astype(np.int64)
        counted = np.array(self.counts) + np.bincount(outputs, minlength=len(self.counts))
        after = replace(after, counts=tuple(int(c) for c in counted))
        after._check(outputs)
        return outputs, after

    def _named(self, raw: NDArray[np.str_]) -> Classes:
        if self.names is None and self.seen:
            raise SampleError(
                f"{PLACE}: strings, but this session numbers its classes; give ints or reset first"
            )
        known = self.names or ()
        new = [name for name in dict.fromkeys(raw.tolist()) if name not in known]
        if self.fixed and new:
            raise SampleError(
                f"{PLACE}: unknown class {new[0]!r}, expected one of {', '.join(known)}; rename it"
            )
        if len(known) + len(new) > self.max_ways and not self.fixed:
            raise SampleError(
                f"{PLACE}: {len(known) + len(new)} classes ({', '.join((*known, *new))[:120]}), expected at "
                f"most {self.max_ways}; drop some or export a wider head"
            )
        return replace(self, names=(*known, *new))

    def _numbered(self, raw: NDArray[np.integer[Any]]) -> Classes:
        if self.names is not None and not self.fixed:
            raise SampleError(
                f"{PLACE}: ints, but this session names its classes; give strings or reset first"
            )
        limit = len(self.names) if self.names is not None else len(self.counts)
        wrong = raw[(raw < 0) | (raw >= limit)]
        if wrong.size:
            raise SampleError(f"{PLACE}: label {wrong[0]}, expected 0 to {limit - 1}; renumber the classes")
        return self

    def _check(self, outputs: NDArray[np.int64]) -> None:
        if not self.min_ways <= self.seen <= self.max_ways:
            raise SampleError(
                f"{PLACE}: {self.seen} classes with samples, expected {self.min_ways} to {self.max_ways}; "
                "give samples of more (or fewer) classes"
            )
        missing = [i for i in range(int(outputs.max())) if self.counts[i] == 0]
        if missing and not self.fixed:
            raise SampleError(
                f"{PLACE}: class {missing[0]} has no sample, expected every class from 0 to {outputs.max()} "
                "to have one; renumber without gaps or use names"
            )


def fresh(made: Manifest) -> Classes:
    """The classes of a session that has learned nothing."""
    names, width = made.output.labels, made.output.shape[0]
    return Classes(
        min_ways=made.policy.min_ways,
        max_ways=made.policy.max_ways,
        fixed=names is not None,
        names=names,
        counts=(0,) * width,
    )


def restore(made: Manifest, labels: tuple[str, ...] | None, counts: dict[str, int]) -> Classes:
    """The classes a delta speaks of; unknown keys of `counts` count nothing."""
    base = fresh(made)
    names = base.names if base.fixed else labels
    keys: Sequence[str] = names if names is not None else [str(i) for i in range(len(base.counts))]
    counted = [counts.get(key, 0) for key in keys]
    return replace(base, names=names, counts=(*counted, *base.counts[len(counted) :]))


def count_map(classes: Classes) -> dict[str, int]:
    """The counts under the names a delta stores; the inverse of `restore`."""
    keys = classes.names if classes.names is not None else [str(i) for i in range(len(classes.counts))]
    return {key: count for key, count in zip(keys, classes.counts, strict=False) if count}


def as_labels(y: ArrayLike, count: int) -> NDArray[Any]:
    """One label per sample, all strings or all ints."""
    kinds = {str if isinstance(v, str) else int for v in y} if isinstance(y, list | tuple) else set()
    try:
        raw = np.asarray(y) if len(kinds) < 2 else np.empty((), object)
    except ValueError as error:  # ragged
        raise SampleError(
            f"{PLACE}: no array ({error}), expected one label per sample; pair them up"
        ) from error
    if raw.dtype == object and raw.ndim == 1 and all(isinstance(v, str) for v in raw):
        raw = raw.astype(str)
    if raw.dtype.kind not in "iuU":
        found = "a mix of strings and numbers" if len(kinds) > 1 else f"dtype {raw.dtype}"
        raise SampleError(f"{PLACE}: {found}, expected all ints or all strings; convert them first")
    if raw.shape != (count,):
        raise SampleError(f"{PLACE}: shape {raw.shape}, expected ({count},), one per sample; pair them up")
    if raw.dtype.kind == "U" and not all(raw.tolist()):
        raise SampleError(f"{PLACE}: an empty name, expected a class name per sample; name the class")
    return raw
