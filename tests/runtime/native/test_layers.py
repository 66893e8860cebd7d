"""Layers joined and made again: fast and small plans against the fp64 reference, at every width."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from regrow import reference
from regrow.engines import core
from regrow.plan.bound import lower_bound
from regrow.plan.builder import Builder
from regrow.plan.kept import Kept, forward
from regrow.plan.make import Plan, plan_adapt
from regrow.plan.style import STYLES
from regrow.plan.walk import listed
from tests.runtime.native.drive import POISON, run, run_words
from tests.runtime.native.nets import Net, arrays, parameters, programs
from tests.runtime.native.test_plan import overlapping, used_before_made

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

# One step in fp32 against fp64; a row of roundings per sum, relative to the largest change of a parameter.
LIMIT = 2e-4
EXACT = {name: style for name, style in STYLES.items() if not style.half}
NETS = st.builds(
    lambda channels, widths, pools, size: Net(channels, tuple(widths), tuple(pools[: len(widths)]), size),
    st.integers(1, 3),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.integers(8, 21),
)


def one_step(plan: Plan, net: Net, given: dict[str, Any], width: int) -> dict[str, Any]:
    made = {f"out:{n}": np.empty_like(given[n]) for n in parameters(net)}
    made |= {"out:losses": np.empty(1, np.float32), "out:final_loss": np.empty((), np.float32)}
    status, _ = run(plan, given | made, 1, width)
    assert status == 0, core.text(status)
    return made


def masked(net: Net, seed: int, density: float) -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.random((f, c, 3, 3)) < density for i, c, f, *_ in net.layers()}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(net=NETS, batch=st.integers(2, 6), seed=st.integers(0, 999), density=st.sampled_from([1.0, 0.3]))
def test_every_plan_takes_the_reference_step(net: Net, batch: int, seed: int, density: float) -> None:
    masks = masked(net, seed, density)
    masks = {n: m for n, m in masks.items() if density < 1 and m.any()}
    kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
    given = arrays(net, batch, seed, masks)
    exact = reference.run(programs(net)["step"], given)
    for name, style in EXACT.items():
        plan = plan_adapt(programs(net), batch, kept, style=style)
        assert overlapping(plan) == []
        assert used_before_made(plan) == []
        for width in range(core.library().regrow_width() + 1):
            made = one_step(plan, net, given, width)
            for p in parameters(net):
                want = exact[f"next:{p}"] - given[p]
                found = made[f"out:{p}"].astype(np.float64) - given[p]
                if p in masks:
                    assert not found[~masks[p]].any(), (name, p)
                    want = np.where(masks[p], want, 0)
                scale = max(float(np.abs(want).max()), 1e-2 * float(np.abs(given[p]).max()))
                assert float(np.abs(found - want).max()) / scale < LIMIT, (name, width, p)


def test_a_tiny_gamma_is_not_divided_by() -> None:
    """Where the normed values cannot be had back from the output they are made again."""
    net = Net(2, (5, 4), (True, True), 12)
    given = arrays(net, 4, 1, {})
    given["g0"][:] = [0, 1e-9, 1e-3, -1, 0.5]
    given["b0"][:] = 1
    exact = reference.run(programs(net)["step"], given)
    for style in EXACT.values():
        plan = plan_adapt(programs(net), 4, {}, style=style)
        made = one_step(plan, net, given, core.library().regrow_width())
        for p in parameters(net):
            np.testing.assert_allclose(made[f"out:{p}"], exact[f"next:{p}"], rtol=1e-4, atol=1e-5)


def test_a_small_plan_is_smaller_and_uses_what_it_states() -> None:
    net = Net(1, (16, 16, 16), (True, True, True), 28)
    given = arrays(net, 5, 0, {})
    fast, small = (plan_adapt(programs(net), 5, {}, style=STYLES[n]) for n in ("fast", "small"))
    assert small.arena_bytes < 0.75 * fast.arena_bytes
    made = {f"out:{n}": np.empty_like(given[n]) for n in parameters(net)}
    made |= {"out:losses": np.empty(1, np.float32), "out:final_loss": np.empty((), np.float32)}
    status, arena = run(small, given | made, 1)
    assert status == 0
    assert small.arena_bytes - int(np.flatnonzero(arena != POISON)[-1]) - 1 < 256
    assert run(small, given | made, 1, short=1)[0] != 0


def stretched(plan: Plan) -> list[int]:
    """How many stretches each row's list has, of every call over kept weights that is one of its own."""
    calls = (call for calls in plan.calls.values() for call in calls)
    return [int(str(call.words[13])) for call in calls if call.op == "conv_sparse"]


@pytest.mark.parametrize("size", [28, 14, 7, 60, 21])
def test_rows_of_whole_vectors_take_the_reference_step(size: int) -> None:
    """A row is one vector, two or four, or a sample is four; 21 would take too many pads."""
    net = Net(1, (12, 16, 9), (size > 7, False, False), size)
    masks = {n: m for n, m in masked(net, size, 0.35).items() if n != "w0"}
    kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
    given = arrays(net, 3, size, masks)
    exact = reference.run(programs(net)["step"], given)
    plan = plan_adapt(programs(net), 3, kept, style=STYLES["wide"])
    found = max(stretched(plan))
    assert found == {28: 3, 14: 6, 7: 6, 60: 3, 21: 0}[size]
    for width in range(core.library().regrow_width() + 1):
        made = one_step(plan, net, given, width)
        for p in parameters(net):
            want = exact[f"next:{p}"] * masks.get(p, 1)
            np.testing.assert_allclose(made[f"out:{p}"], want, rtol=2e-4, atol=2e-6)


def test_channels_are_taken_in_parts_where_many_do_not_fit_the_first_cache() -> None:
    net = Net(1, (40, 11), (False, False), 30)
    masks = {"w1": masked(net, 0, 0.1)["w1"]}
    given = arrays(net, 4, 0, masks)
    exact = reference.run(programs(net)["step"], given)
    plan = plan_adapt(programs(net), 4, {"w1": Kept(masks["w1"], fixed=False)})
    (call,) = [call for call in plan.calls["step"] if call.op == "conv_sparse_dw"]
    assert int(str(call.words[6])) > 1
    for width in range(core.library().regrow_width() + 1):
        found = one_step(plan, net, given, width)["out:w1"]
        np.testing.assert_allclose(found, exact["next:w1"] * masks["w1"], rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("style", "batch", "net"),
    [
        ("small", 3, Net(2, (4, 6), (True, True), 9)),
        ("wide", 3, Net(1, (8, 8), (True, False), 14)),
        ("fast", 3, Net(16, (16, 16), (True, False), 8)),
        ("small-fp16", 4, Net(2, (8, 8, 8, 6), (False,) * 4, 14)),
        ("small-fp16", 2, Net(2, (8, 8, 8, 6), (False,) * 4, 14)),
    ],
)
def test_changed_words_of_a_training_plan_never_leave_the_blocks(style: str, batch: int, net: Net) -> None:
    masks = masked(net, 3, 0.4)
    plan = plan_adapt(
        programs(net), batch, {n: Kept(m, fixed=False) for n, m in masks.items()}, style=STYLES[style]
    )
    words, rng = plan.words(core.code), np.random.default_rng(0)
    given = arrays(net, batch, 0, masks)
    given |= {f"out:{n}": np.empty_like(given[n]) for n in parameters(net)}
    given |= {"out:losses": np.empty(1, np.float32), "out:final_loss": np.empty((), np.float32)}
    guarded, inside = {}, {}
    for name, array in given.items():
        guarded[name] = np.full(array.size + 64, 7, np.float32)
        inside[name] = guarded[name][32 : 32 + array.size].reshape(array.shape)
        inside[name][...] = array
    statuses = set()
    for _ in range(4000):
        changed = words.copy()
        for at in rng.integers(0, len(words), int(rng.integers(1, 4))):
            changed[at] = rng.choice([0, 1, 2, 15, 64, 2**16, 2**31, 2**32 - 1, int(changed[at]) ^ 1 << 4])
        statuses.add(run_words(changed, plan, inside, 1)[0])
        for name, whole in guarded.items():
            assert (whole[:32] == 7).all(), name
            assert (whole[-32:] == 7).all(), name
    assert len(statuses) > 3


def test_the_lower_bound_is_the_sum_done_by_hand() -> None:
    """Three inputs of five samples; 72, 288 and 72 weights, two vectors each; the largest once more."""
    net = Net(1, (8, 4, 2), (True, True, False), 12)
    inputs = 5 * (12 * 12 * 1 + 6 * 6 * 8 + 3 * 3 * 4)
    whole = inputs + (72 + 288 + 72) + 2 * (8 + 4 + 2) + 288
    assert lower_bound(programs(net)["step"], 5, {}) == 4 * whole
    mask = np.zeros((4, 8, 3, 3), np.bool_)
    mask[:, :, 0, 0] = True
    packed = inputs + (72 + 32 + 72) + 2 * (8 + 4 + 2) + 72
    assert lower_bound(programs(net)["step"], 5, {"w1": Kept(mask, fixed=False)}) == 4 * packed


def test_a_small_plan_is_near_the_bound() -> None:
    net = Net(1, (32, 32, 32, 32), (True, True, True, True), 28)
    for density in (1.0, 0.1):
        masks = masked(net, 0, density) if density < 1 else {}
        kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
        plan = plan_adapt(programs(net), 5, kept, style=STYLES["small"])
        assert plan.arena_bytes < 1.4 * lower_bound(programs(net)["step"], 5, kept)


def test_a_layer_of_many_weights_takes_lists_that_reach_them() -> None:
    """Two bytes number the positions of a filter; a layer may keep more weights than that."""
    net = Net(64, (512, 512), (False, False), 4)
    masks = masked(net, 0, 0.1)
    assert max(m.sum() for m in masks.values()) > 2**16
    kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
    given = arrays(net, 2, 0, masks)
    exact = reference.run(programs(net)["step"], given)
    for style in EXACT.values():
        plan = plan_adapt(programs(net), 2, kept, style=style)
        made = one_step(plan, net, given, core.library().regrow_width())
        for p in parameters(net):
            want = exact[f"next:{p}"] * masks.get(p, 1)
            np.testing.assert_allclose(made[f"out:{p}"], want, rtol=1e-3, atol=1e-4)


def test_numbers_of_positions_are_widened_where_two_bytes_cannot_hold_them() -> None:
    mask = np.random.default_rng(0).random((2, 8000, 3, 3)) < 0.1
    lists = forward(Kept(mask, fixed=True))
    assert int(lists.index.max()) > 2**16
    few = forward(Kept(mask[:, :7000], fixed=True))
    for made, positions, item in ((few, 63000, 2), (lists, 72000, 4)):
        walk = listed(Builder(1, {}, style=STYLES["small"]), "w", "", made, range(positions))
        assert walk.index.bytes == item * walk.kept
        assert len(walk.table) == (positions if item == 2 else 0)
