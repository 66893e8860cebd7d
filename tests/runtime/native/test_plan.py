"""Plans: nothing alive overlaps, the arena is used to its last byte, and no plan is trusted."""

from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.engines import core
from regrow.plan.arena import ALIGNMENT, SECTIONS
from regrow.plan.kept import Kept
from regrow.plan.make import Plan, plan_adapt, plan_predict
from regrow.program import Op, Program, Value
from tests.runtime.native.drive import POISON, run, run_words

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)


def conv_program(channels: int = 3, filters: int = 6, size: int = 9) -> Program:
    """Two convolutions with what follows them: planes, chains and plain values in one program."""
    same = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    halve = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    values = {"x": Value((-1, channels, size, size), role="input")}
    ops: list[Op] = []
    inputs, last, width = ["x"], "x", channels
    for i in (0, 1):
        shape = (-1, filters, size // 2**i, size // 2**i)
        for name, dims in ((f"w{i}", (filters, width, 3, 3)), (f"g{i}", (filters,)), (f"b{i}", (filters,))):
            values[name] = Value(dims, role="frozen")
            inputs.append(name)
        names = [f"{kind}{i}" for kind in ("z", "n", "r")]
        values |= dict.fromkeys(names, Value(shape)) | {
            f"m{i}": Value((filters,)),
            f"v{i}": Value((filters,)),
        }
        values[f"p{i}"] = Value((-1, filters, shape[2] // 2, shape[3] // 2))
        ops += [
            Op("conv2d", (last, f"w{i}"), (f"z{i}",), same),
            Op("batch_norm", (f"z{i}", f"g{i}", f"b{i}"), (f"n{i}", f"m{i}", f"v{i}"), {"eps": 1e-5}),
            Op("relu", (f"n{i}",), (f"r{i}",), {}),
            Op("max_pool2d", (f"r{i}",), (f"p{i}",), halve),
        ]
        last, width = f"p{i}", filters
    values["logits"] = values[last]
    ops.append(Op("tanh", (last,), ("logits",), {}))
    return Program(tuple(inputs), ("logits",), tuple(ops), values)


def arrays_of(program: Program, batch: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    made = {n: rng.normal(size=program.values[n].at(batch)).astype(np.float32) for n in program.inputs}
    return made | {"out:logits": np.empty(program.values["logits"].at(batch), np.float32)}


def overlapping(plan: Plan) -> list[tuple[int, int]]:
    """Pairs of buffers that are alive at once and share a byte."""
    lives = [(b, life) for b, life in plan.layout.lives.items() if b not in plan.layout.root]
    return [
        (a.offset, b.offset)
        for (a, la), (b, lb) in combinations(lives, 2)
        if la.first <= lb.last and lb.first <= la.last
        if a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes
    ]


def used_before_made(plan: Plan) -> list[str]:
    """Calls that read arena memory which nothing has written."""
    made: set[int] = set()
    bad = []
    for section in SECTIONS:
        for call in plan.calls[section]:
            reads = [b for b in call.reads if b.block == "arena" and b is not plan.step_number]
            bad += [call.op for b in reads if id(b) not in made]
            made |= {id(b) for b in call.writes}
    return bad


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 6), channels=st.integers(1, 3), filters=st.integers(1, 9), size=st.integers(4, 12)
)
def test_no_two_live_values_overlap(batch: int, channels: int, filters: int, size: int) -> None:
    plan = plan_predict(conv_program(channels, filters, size), batch, {})
    assert overlapping(plan) == []
    assert used_before_made(plan) == []
    assert all(b.offset % ALIGNMENT == 0 for b in plan.layout.lives)
    assert max(b.offset + b.bytes for b in plan.layout.lives) == plan.arena_bytes


def test_an_adaptation_overlaps_nowhere_and_keeps_what_steps_need(tiny: ModuleType) -> None:
    kept = {"head.weight": Kept(tiny.kept(), fixed=False)}
    for batch in (1, 20):
        for weights in ({}, kept):
            plan = plan_adapt(tiny.programs(), batch, weights)
            assert overlapping(plan) == []
            assert used_before_made(plan) == []


def test_an_arena_one_byte_too_small_is_refused() -> None:
    program = conv_program()
    plan, arrays = plan_predict(program, 2, {}), arrays_of(program, 2)
    assert run(plan, arrays)[0] == 0
    status, arena = run(plan, arrays, short=1)
    assert core.text(status) == "a block that is missing or smaller than planned"
    assert (arena == POISON).all()


def test_the_poisoned_arena_is_used_up_to_the_stated_peak() -> None:
    """The last bytes that change belong to the value that ends the arena; its guard may stay as it was."""
    program = conv_program()
    for batch in (1, 5):
        plan = plan_predict(program, batch, {})
        _, arena = run(plan, arrays_of(program, batch))
        high = int(np.flatnonzero(arena != POISON)[-1]) + 1
        ends = [b for b in plan.layout.lives if b.offset + b.bytes == plan.arena_bytes]
        assert plan.arena_bytes - high < 256
        assert any(b.offset < high for b in ends)


def test_samples_do_not_see_what_was_in_the_arena() -> None:
    program = conv_program()
    arrays = arrays_of(program, 3)
    plan = plan_predict(program, 3, {})
    made = []
    for _ in range(2):
        assert run(plan, arrays)[0] == 0
        made.append(arrays["out:logits"].tobytes())
    assert len(set(made)) == 1
    assert np.isfinite(arrays["out:logits"]).all()


def test_a_block_that_is_too_small_is_refused() -> None:
    program = conv_program()
    plan, arrays = plan_predict(program, 2, {}), arrays_of(program, 2)
    for name in ("x", "w0", "out:logits"):
        status, _ = run(plan, arrays | {name: arrays[name].ravel()[:-1]})
        assert core.text(status) == "a block that is missing or smaller than planned"


def test_labels_out_of_range_are_refused(tiny: ModuleType) -> None:
    plan = plan_adapt(tiny.programs(), 2, {})
    x, _ = tiny.support()
    weights = tiny.weights()
    arrays = {"x": x[:2], "y": np.array([0, tiny.C]), "active": np.ones(tiny.C, np.bool_), **weights}
    arrays |= {
        "meta:lr": np.float32([0.1]),
        "mask:head.weight": tiny.kept(),
        "state:velocity": np.zeros(5, "f4"),
    }
    arrays |= {f"out:{n}": np.empty_like(weights[n]) for n in ("head.weight", "head.bias")}
    arrays |= {n: np.empty(8, np.float32) for n in ("out:losses", "out:final_loss", "out:state:velocity")}
    arrays["out:stat:mean"] = np.empty((1, tiny.D), np.float32)
    assert core.text(run(plan, arrays, 1)[0]) == "a label or a row number out of range"
    assert (
        core.text(run(plan, arrays | {"y": np.array([0, -1])}, 1)[0])
        == "a label or a row number out of range"
    )
    assert run(plan, arrays | {"y": np.array([0, 1])}, 1)[0] == 0


def test_changed_words_never_leave_the_blocks() -> None:
    """Any word of a plan changed: a status or a result, never a byte outside the blocks."""
    program = conv_program(2, 4, 6)
    kept = {"w1": Kept(np.random.default_rng(5).random((4, 4, 3, 3)) < 0.4, fixed=True)}
    plan = plan_predict(program, 2, kept)
    words = plan.words(core.code)
    rng = np.random.default_rng(0)
    guarded, arrays = {}, {}
    for name, array in arrays_of(program, 2).items():
        guarded[name] = np.full(array.size + 64, 7, np.float32)
        arrays[name] = guarded[name][32:-32].reshape(array.shape)
        arrays[name][...] = array
    statuses = set()
    for _ in range(4000):
        changed = words.copy()
        for at in rng.integers(0, len(words), int(rng.integers(1, 4))):
            changed[at] = rng.choice(
                [0, 1, 2, 15, 64, 2**16, 2**31 - 1, 2**31, 2**32 - 1, int(changed[at]) ^ 1 << 4]
            )
        statuses.add(run_words(changed, plan, arrays)[0])
        for name, whole in guarded.items():
            assert (whole[:32] == 7).all(), name
            assert (whole[-32:] == 7).all(), name
    assert len(statuses) > 3
