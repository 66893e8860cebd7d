"""How many bytes an adaptation keeps alive at once. Decides nothing and allocates nothing.

The figure counts the inputs, two copies of whatever is carried between steps (now and next), what the prefix
hands to the steps, and the widest moment of the temporaries in between. Frozen weights are used where the
bundle lies and are not counted. It is what the programs need, not what an engine's allocator takes.
"""

from collections.abc import Mapping
from math import prod

from regrow.program import Program, Value

_ITEM = {"float32": 4, "int64": 8, "bool": 1, "uint8": 1}


def value_bytes(value: Value, batch: int) -> int:
    """Bytes of one value at a batch size."""
    return prod(value.at(batch)) * _ITEM[value.dtype]


def peak_bytes(programs: Mapping[str, Program], batch: int) -> int:
    """Peak of prefix, steps and finish for a support set of `batch` samples."""
    step = programs["step"]
    handed = sum(value_bytes(programs["prefix"].values[n], batch) for n in programs["prefix"].outputs)
    inputs = {n: v for p in programs.values() for n, v in p.values.items() if v.role == "input"}
    carried = [v for v in step.values.values() if v.role in ("adaptable", "state")]
    fixed = sum(value_bytes(v, batch) for v in inputs.values()) + 2 * sum(
        value_bytes(v, batch) for v in carried
    )
    widest = max(_widest(programs[name], batch) for name in ("prefix", "step", "finish"))
    return fixed + handed + widest


def _widest(program: Program, batch: int) -> int:
    """The most bytes of temporaries alive between two ops, each freed after its last use."""
    last = {name: i for i, op in enumerate(program.ops) for name in op.inputs}
    last |= {name: len(program.ops) for name in program.outputs}
    alive = peak = 0
    sizes: dict[str, int] = {}
    for i, op in enumerate(program.ops):
        for name in filter(None, op.outputs):
            # Carried results are counted once, as the "next" copy.
            if not name.startswith("next:"):
                sizes[name] = value_bytes(program.values[name], batch)
        alive += sum(sizes.get(name, 0) for name in op.outputs)
        peak = max(peak, alive)
        alive -= sum(sizes.pop(name, 0) for name in {*op.inputs, *op.outputs} if last.get(name, i) == i)
    return peak
