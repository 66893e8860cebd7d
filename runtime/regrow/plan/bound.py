"""The least an adaptation could keep: what backward reads of forward, what changes, and one gradient.

Inputs of layers with weights to adapt, without pads; every value that is carried between steps, pruned ones
as their kept positions; the gradient of the largest. All in the precision of the program; no workspace,
no lists, nothing recomputed. A plan is judged by how far its arena is from this.
"""

from collections.abc import Mapping
from math import prod

from regrow.plan.kept import Kept
from regrow.plan.peak import value_bytes
from regrow.program import Op, Program


def lower_bound(step: Program, batch: int, kept: Mapping[str, Kept]) -> int:
    """Bytes, for a program of one step and a support set of `batch` samples."""
    carried = {n: v for n, v in step.values.items() if v.role in ("adaptable", "state") and n in step.inputs}
    sizes = {
        n: 4 * kept[n].count if n in kept and v.role == "adaptable" else value_bytes(v, batch)
        for n, v in carried.items()
    }
    weights = {v.shape: sizes[n] for n, v in carried.items() if v.role == "adaptable"}
    gradients = [op for op in step.ops if _is_weight_gradient(op, step, weights)]
    inputs = {op.inputs[1] for op in gradients}
    held = sum(value_bytes(step.values[n], batch) for n in inputs)
    largest = max((weights[step.values[op.outputs[0]].shape] for op in gradients), default=0)
    return held + sum(sizes.values()) + largest


def _is_weight_gradient(op: Op, step: Program, weights: Mapping[tuple[int, ...], int]) -> bool:
    if op.kind == "matmul" and not (op.attrs["transpose_a"] and not op.attrs["transpose_b"]):
        return False
    made = step.values[op.outputs[0]].shape if op.outputs and op.outputs[0] else ()
    return op.kind in ("conv2d_dw", "matmul") and prod(made) > 0 and made in weights
