"""What keeping in fp16 means, in numpy: a value that waits loses digits, and nothing else happens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.ops import OPS
from regrow.plan.chain import Chain
from regrow.plan.fuse import fused
from regrow.plan.style import Style
from regrow.program import Program

Array = NDArray[Any]


def rounded(runs: Array) -> Array:
    """Float32 rows as they come back: fp16 beside a power of two per row, none of them subnormal."""
    runs = np.asarray(runs, np.float32)
    largest = np.abs(runs).max(axis=-1, keepdims=True)
    _, exponent = np.frexp(largest)  # the largest is below 2**exponent
    scale = np.ldexp(1.0, np.maximum(exponent - 15, -126)).astype(np.float64)
    small = runs.astype(np.float64) / scale
    small[np.abs(small) < 2.0**-14] = 0
    made: Array = (small.astype(np.float16).astype(np.float64) * scale).astype(np.float32)
    return np.where(np.isfinite(runs).all(axis=-1, keepdims=True), made, np.float32(np.nan))


def waiting(program: Program, style: Style, batch: int) -> frozenset[str]:
    """The values of a step that layers keep so."""
    chains = (op for op in fused(program, style, batch) if isinstance(op, Chain))
    return frozenset().union(*(op.halved for op in chains))


def step(program: Program, given: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """The program in fp64; samples of channels of the named values lose digits as soon as they are made."""
    values = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in given.items()}
    for op in program.ops:
        made = OPS[op.kind].forward([values[n] for n in op.inputs], op.attrs)
        for name, array in zip(op.outputs, made, strict=True):
            if name in names:
                runs = array.reshape(*array.shape[:2], -1)
                array = rounded(runs).astype(np.float64).reshape(array.shape)
            values[name] = array
    return {name: values[name] for name in program.outputs}
