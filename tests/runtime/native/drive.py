"""Run programs and plans on the core, as the engine does but with nothing around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.engines import core
from regrow.engines.planned import address, aligned
from regrow.ops import OPS
from regrow.plan.kept import Kept
from regrow.plan.make import Plan, plan_predict
from regrow.program import Op, Program, Value

Array = NDArray[Any]
POISON = 0xAB


def run(
    plan: Plan, arrays: Mapping[str, Array], steps: int = 0, width: int | None = None, short: int = 0
) -> tuple[int, Array]:
    """The status and the arena, poisoned before; `short` bytes less of it are handed over."""
    words = plan.words(core.code)
    return run_words(words, plan, arrays, steps, width, short)


def run_words(
    words: Array,
    plan: Plan,
    arrays: Mapping[str, Array],
    steps: int = 0,
    width: int | None = None,
    short: int = 0,
) -> tuple[int, Array]:
    """The same with words that need not be the plan's."""
    arena = aligned(plan.arena_bytes)
    arena[:] = POISON
    blocks = [arena, *(plan.lists[n] if n in plan.lists else arrays[n] for n in plan.blocks[1:])]
    table = np.array([(address(a), a.nbytes) for a in blocks], np.uint64)
    table[0, 1] -= short
    width = core.library().regrow_width() if width is None else width
    arguments = (address(words), len(words), address(table), len(table), steps)
    return int(core.library().regrow_run_width(width, *arguments)), arena


def single(
    kind: str, inputs: list[Array], attrs: dict[str, Any]
) -> tuple[Program, list[Array], dict[str, Array]]:
    """A program of one op, what the reference makes of it, and arrays by name."""
    names = [f"in{i}" for i in range(len(inputs))]
    values = {n: Value(a.shape, a.dtype.name, "input") for n, a in zip(names, inputs, strict=True)}
    shapes = OPS[kind].shape(list(values.values()), attrs)
    outputs = tuple(f"out{i}" for i in range(len(shapes)))
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in inputs]
    exact = [np.asarray(a) for a in OPS[kind].forward(wide, attrs)]
    # The batch plays no part: shapes are concrete.
    made = {n: Value(v.shape, v.dtype) for n, v in zip(outputs, shapes, strict=True)}
    program = Program(tuple(names), outputs, (Op(kind, tuple(names), outputs, attrs),), values | made)
    return program, exact, dict(zip(names, inputs, strict=True))


def outputs(
    program: Program, arrays: Mapping[str, Array], batch: int = 1, width: int | None = None
) -> list[Array]:
    """What the core makes of a program's outputs."""
    plan = plan_predict(program, batch, {}, outputs=program.outputs)
    made = {
        f"out:{n}": np.empty(program.values[n].at(batch), program.values[n].dtype) for n in program.outputs
    }
    status, _ = run(plan, {**arrays, **made}, width=width)
    assert status == 0, core.text(status)
    return [made[f"out:{n}"] for n in program.outputs]


def kept_of(masks: Mapping[str, Array], *, fixed: bool = False) -> dict[str, Kept]:
    return {name: Kept(mask, fixed) for name, mask in masks.items()}
