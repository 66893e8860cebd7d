"""Run a program in numpy, slowly and exactly. The oracle other engines are held to."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.ops import OPS
from regrow.program import Op, Program

Tensors = Mapping[str, NDArray[Any]]


def _widen(array: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    return array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array


def trace(
    program: Program, env: Tensors, dtype: type[np.floating[Any]] = np.float64
) -> dict[str, NDArray[Any]]:
    """Every value of the program, by name; floats are computed in `dtype`."""
    values = {name: _widen(np.asarray(env[name]), dtype) for name in program.inputs}
    for op in program.ops:
        outputs = OPS[op.kind].forward([values[name] for name in op.inputs], op.attrs)
        # An op may return more than the program asked for: positional, "" means unwanted.
        values.update({n: _widen(v, dtype) for n, v in zip(op.outputs, outputs, strict=True) if n})
    return values


def run(
    program: Program, env: Tensors, dtype: type[np.floating[Any]] = np.float64
) -> dict[str, NDArray[Any]]:
    """The program's outputs, by name."""
    values = trace(program, env, dtype)
    return {name: values[name] for name in program.outputs}


def decisions(program: Program, values: Tensors) -> dict[str, NDArray[Any]]:
    """Which branch every branching op took (ReLU side, pooling winner), by the op's first output."""
    return {op.outputs[0]: taken for op in program.ops if (taken := _decision(op, values)) is not None}


def _decision(op: Op, values: Tensors) -> NDArray[Any] | None:
    decide = OPS[op.kind].decide
    if decide is None:
        return None
    return decide([values[n] for n in op.inputs], [values[n] for n in op.outputs if n], op.attrs)


def adapt(
    programs: Mapping[str, Program], env: Tensors, steps: int
) -> tuple[dict[str, NDArray[Any]], list[float]]:
    """The K-step adaptation: everything carried plus what `finish` yields, and the loss before each step."""
    known: dict[str, NDArray[Any]] = {k: _widen(np.asarray(v), np.float64) for k, v in env.items()}
    known |= run(programs["prefix"], known)
    losses: list[float] = []
    for step in range(steps):
        out = run(programs["step"], known | {"step": np.asarray(step)})
        losses.append(float(out["loss"]))
        known |= {name.removeprefix("next:"): v for name, v in out.items() if name.startswith("next:")}
    return known | run(programs["finish"], known), losses
