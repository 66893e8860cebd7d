"""Plans that keep what waits for backward in fp16: what is lost, and how little memory that takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.engines import core
from regrow.plan.arena import lay_out
from regrow.plan.bound import lower_bound
from regrow.plan.builder import Buffer, Call, Section
from regrow.plan.halves import halves_floats
from regrow.plan.kept import Kept
from regrow.plan.make import Plan, plan_adapt
from regrow.plan.style import STYLES
from tests.runtime.native.drive import POISON, run
from tests.runtime.native.halves import Array, rounded, step, waiting
from tests.runtime.native.nets import Net, arrays, parameters, programs
from tests.runtime.native.test_layers import NETS, masked, one_step
from tests.runtime.native.test_plan import overlapping, used_before_made

STYLE = STYLES["small-fp16"]
# One step against fp64 that loses the same digits. Sums over a gradient are taken before it is rounded, and
# where they cancel that shows: typical are 1e-4, the worst of 120 networks 3e-3.
LIMIT = 5e-3
WIDTHS = range(core.library().regrow_width() + 1 if core.PATH.exists() else 0)
pytestmark = pytest.mark.skipif(not WIDTHS, reason="the native core is not built: no C compiler here")


def there_and_back(x: Array, width: int) -> Array:
    """Rows of an array shortened and widened, by a plan of two calls and a copy."""
    channels, runs, size = x.shape
    stride = runs * size + 3
    total = 5 + channels * stride
    wide = np.full(total, np.nan, np.float32)  # what lies between is not looked at
    inside = wide[5:].reshape(channels, stride)[:, : runs * size]
    inside[...] = x.reshape(channels, -1)
    source, half = Buffer(4 * total, "x"), Buffer(4 * halves_floats(x.size, size))
    back, out = Buffer(4 * total), Buffer(4 * total, "out:x")
    words = (5, channels, stride, runs, size, total)
    calls: dict[Section, list[Call]] = {
        "once": [
            Call("shorten", (half, source, *words), (source,), (half,)),
            Call("widen", (back, half, *words), (half,), (back,)),
            Call("copy", (1, out, back, 0, 0, 1, 4 * total, 1, 1), (back,), (out,)),
        ],
        "step": [],
        "finish": [],
    }
    plan = Plan(calls, lay_out(calls, ()), ("arena", "out:x", "x"), {})
    made = np.empty(total, np.float32)
    status, _ = run(plan, {"x": wide, "out:x": made}, width=width)
    assert status == 0, core.text(status)
    assert not made[:5].any()
    rows = made[5:].reshape(channels, stride)
    assert not rows[:, runs * size :].any()
    return rows[:, : runs * size].reshape(x.shape)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_comes_back_as_fp16_beside_a_power_of_two(width: int) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 3, 15, 16, 17, 225):
        x = (rng.normal(size=(3, 4, size)) * 10.0 ** rng.integers(-9, 9, (3, 4, 1))).astype(np.float32)
        x[0, 0], x[0, 1, 0], x[1, 1] = 0, 3e38, np.float32(1e-42)
        np.testing.assert_array_equal(there_and_back(x, width), rounded(x))


@pytest.mark.parametrize("width", WIDTHS)
def test_halfway_goes_to_even_and_what_is_tiny_to_zero(width: int) -> None:
    x = np.array(
        [1, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-28, 2.0**-29, -(2.0**-30), -1 - 2.0**-11, 2 - 2**-23]
    )
    found = there_and_back(x.reshape(1, 1, -1), width).reshape(-1)
    np.testing.assert_array_equal(found, np.array([1, 1, 1 + 2.0**-9, 2.0**-28, 0, -0.0, -1, 2]))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_is_not_hidden(width: int, bad: float) -> None:
    for at in (0, 7, 17):
        x = np.ones((1, 3, 18), np.float32)
        x[0, 1, at] = bad
        found = there_and_back(x, width)
        assert np.isnan(found[0, 1]).all()
        assert (found[0, ::2] == 1).all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(net=NETS, batch=st.integers(3, 7), seed=st.integers(0, 999), density=st.sampled_from([1.0, 0.3]))
def test_a_step_loses_those_digits_and_no_others(net: Net, batch: int, seed: int, density: float) -> None:
    masks = {n: m for n, m in masked(net, seed, density).items() if density < 1 and m.any()}
    kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
    given = arrays(net, batch, seed, masks)
    program = programs(net)["step"]
    exact = step(program, given, waiting(program, STYLE, batch))
    plan = plan_adapt(programs(net), batch, kept, style=STYLE)
    assert overlapping(plan) == []
    assert used_before_made(plan) == []
    for width in WIDTHS:
        made = one_step(plan, net, given, width)
        for p, mask in masks.items():
            assert not made[f"out:{p}"][~mask].any(), (width, p)
            exact[f"next:{p}"] = np.where(mask, exact[f"next:{p}"], given[p])
        judge(made, exact, given, net)


def judge(
    made: Mapping[str, Array], exact: Mapping[str, Array], given: Mapping[str, Array], net: Net
) -> None:
    """What a step changed, held against fp64 that lost the same digits."""
    for p in parameters(net):
        want = exact[f"next:{p}"] - given[p]
        off = np.abs(made[f"out:{p}"].astype(np.float64) - given[p] - want).max()
        assert off < LIMIT * max(float(np.abs(want).max()), 1e-2 * float(np.abs(given[p]).max())), p


def test_what_is_kept_whole_waits_so_too() -> None:
    """Of two samples a layer's input is kept whole, so it is shortened where it waits and widened again."""
    net = Net(2, (8, 9, 8, 6), (False, False, False, False), 14)
    given, step_ = arrays(net, 2, 0, {}), programs(net)["step"]
    small, plan = (plan_adapt(programs(net), 2, {}, style=STYLES[n]) for n in ("small", "small-fp16"))
    assert overlapping(plan) == []
    assert used_before_made(plan) == []
    assert [call.op for call in plan.calls["step"]].count("widen") == 6  # each at once, and where it is read
    assert not any(call.op == "widen" for call in small.calls["step"])
    assert plan.arena_bytes < 0.9 * small.arena_bytes
    exact = step(step_, given, {"r0", "r1", "r2"})
    for width in WIDTHS:
        judge(one_step(plan, net, given, width), exact, given, net)


def test_the_plan_is_as_small_as_asked_and_uses_what_it_states() -> None:
    """Conv4-32 on 28x28, five samples, all weights adaptable, nine in ten pruned: 200 KiB."""
    net = Net(1, (32, 32, 32, 32), (True, True, True, True), 28)
    masks = masked(net, 0, 0.1)
    kept = {n: Kept(m, fixed=False) for n, m in masks.items()}
    plan, small = (plan_adapt(programs(net), 5, kept, style=STYLES[n]) for n in ("small-fp16", "small"))
    assert plan.arena_bytes <= 200 * 1024
    assert plan.arena_bytes < 0.8 * small.arena_bytes
    assert plan.arena_bytes < 1.05 * lower_bound(programs(net)["step"], 5, kept)
    given = arrays(net, 5, 0, masks)
    made: dict[str, Any] = {f"out:{n}": np.empty_like(given[n]) for n in parameters(net)}
    made |= {"out:losses": np.empty(1, np.float32), "out:final_loss": np.empty((), np.float32)}
    status, arena = run(plan, given | made, 1)
    assert status == 0
    assert plan.arena_bytes - int(np.flatnonzero(arena != POISON)[-1]) - 1 < 256
    assert run(plan, given | made, 1, short=1)[0] != 0


def test_no_network_pays_for_it() -> None:
    for width in (4, 8, 16, 32):
        net = Net(1, (width,) * 3, (True, True, True), 28)
        for batch in (3, 5, 25):
            plans = [plan_adapt(programs(net), batch, {}, style=STYLES[n]) for n in ("small-fp16", "small")]
            assert plans[0].arena_bytes <= 1.01 * plans[1].arena_bytes
