"""The order of a step: every update as early as it can be, so that no gradient is kept longer than needed."""

from __future__ import annotations

from collections.abc import Sequence

from regrow.plan.pointwise import MAPS
from regrow.program import Op, Program


def hoisted(ops: Sequence[Op], program: Program) -> list[Op]:
    """The same ops; those that only lead to the next values move up to where their last operand is made."""
    tail = _tail(ops, program)
    # A value is replaced in place only once nobody else will read it.
    readers: dict[str, int] = {}
    for op in ops:
        if id(op) not in tail:
            for name in set(op.inputs):
                readers[name] = readers.get(name, 0) + 1
    made, order = set(program.inputs), []
    waiting = [op for op in ops if id(op) in tail]
    for op in ops:
        if id(op) in tail:
            continue
        order.append(op)
        made.update(op.outputs)
        for name in set(op.inputs):
            readers[name] -= 1
        waiting = _release(waiting, made, readers, order)
    return order + waiting


def _tail(ops: Sequence[Op], program: Program) -> set[int]:
    """Pointwise ops from which nothing but next values follows."""
    needed = {name for name in program.outputs if not name.startswith("next:")}
    tail: set[int] = set()
    for op in reversed(ops):
        if op.kind in MAPS and not needed.intersection(op.outputs):
            tail.add(id(op))
        else:
            needed.update(op.inputs)
    return tail


def _release(waiting: list[Op], made: set[str], readers: dict[str, int], order: list[Op]) -> list[Op]:
    left = []
    for op in waiting:  # in their own order, so one pass sees every chain
        replaces = [name.removeprefix("next:") for name in op.outputs if name.startswith("next:")]
        if made.issuperset(op.inputs) and not any(readers.get(name) for name in replaces):
            order.append(op)
            made.update(op.outputs)
        else:
            left.append(op)
    return left
