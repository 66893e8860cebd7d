"""3x3 convolutions of many channels by tiles: against the fp64 reference, and when they are taken."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow import reference
from regrow.engines import core
from regrow.plan.kept import Kept
from regrow.plan.make import Plan, plan_adapt, plan_predict
from regrow.plan.style import STYLES
from regrow.plan.winograd import gains
from tests.runtime.native.draws import floats
from tests.runtime.native.drive import outputs, single
from tests.runtime.native.nets import SAME, Net, arrays, parameters, programs
from tests.runtime.native.test_layers import one_step
from tests.runtime.native.test_ops import LIMIT, error
from tests.runtime.native.test_plan import overlapping, used_before_made

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

WIDTHS = range(core.library().regrow_width() + 1)


def kinds(plan: Plan) -> list[str]:
    """The ops made by tiles, in their order."""
    return [call.op for calls in plan.calls.values() for call in calls if call.op.startswith("winograd")]


def drawn(kind: str, batch: int, sizes: tuple[int, int], size: tuple[int, int], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    x, w = floats(rng, (batch, sizes[0], *size)), floats(rng, (sizes[1], sizes[0], 3, 3))
    dy = floats(rng, (batch, sizes[1], *size))
    if kind == "conv2d_dx":
        return [dy, w], {**SAME, "size": size}
    if kind == "conv2d_dw":
        return [dy, x], {**SAME, "kernel": (3, 3)}
    return [x, w, *([floats(rng, (sizes[1],))] if seed % 2 else [])], dict(SAME)


@pytest.mark.parametrize("kind", ["conv2d", "conv2d_dx", "conv2d_dw"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(3, 7),
    sizes=st.tuples(st.integers(14, 70), st.integers(14, 70)),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    seed=st.integers(0, 999),
)
def test_tiles_compute_what_the_reference_does(
    kind: str, batch: int, sizes: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    """Sides of one and of odd length, and channels that fill no vector, are among them."""
    inputs, attrs = drawn(kind, batch, sizes, size, seed)
    program, (exact,), given_arrays = single(kind, inputs, attrs)
    plan = plan_predict(program, 1, {}, outputs=program.outputs)
    assert len(kinds(plan)) == gains(kind, (sizes[1], sizes[0]), (batch, *size))
    for width in WIDTHS:
        (found,) = outputs(program, given_arrays, width=width)
        assert error(found, exact, inputs) < LIMIT, width


@pytest.mark.parametrize(
    "net", [Net(16, (16, 33, 17), (True, False, False), 13), Net(2, (48, 16), (False, True), 30)]
)
def test_steps_by_tiles_are_the_reference_steps(net: Net) -> None:
    """Relative to the largest change of a parameter, whose own rounding is left out."""
    given_arrays = arrays(net, 4, 1, {})
    for name in parameters(net):
        given_arrays[name] *= np.float32(2.0**-10 if name.startswith("w") else 1)
    exact = reference.run(programs(net)["step"], given_arrays)
    plan = plan_adapt(programs(net), 4, {}, style=STYLES["fast"])
    assert {"winograd", "winograd_dw"} <= set(kinds(plan))
    assert overlapping(plan) == []
    assert used_before_made(plan) == []
    for width in WIDTHS:
        made = one_step(plan, net, given_arrays, width)
        for p in parameters(net):
            want, found = (
                v.astype(np.float64) - given_arrays[p] for v in (exact[f"next:{p}"], made[f"out:{p}"])
            )
            assert float(np.abs(found - want).max()) < 2e-4 * float(np.abs(want).max()), (width, p)


def test_only_layers_that_gain_are_made_by_tiles() -> None:
    def found(net: Net, style: str, masks: Any = None) -> list[str]:
        return kinds(plan_adapt(programs(net), 5, masks or {}, style=STYLES[style]))

    # Forward, the gradients of weight and input, and forward behind the last step: of the second layer alone.
    wide, few = Net(1, (16, 16), (False, False), 12), Net(1, (8, 8), (False, False), 12)
    assert found(wide, "fast") == found(wide, "wide") == ["winograd", "winograd_dw", "winograd", "winograd"]
    assert found(wide, "small") == found(wide, "small-fp16") == []
    assert found(few, "fast") == []
    # Where there are few tiles the gradient alone gains, which needs no sum over a vector then.
    assert found(Net(1, (16, 16), (False, False), 3), "fast") == ["winograd_dw"]
    mask = np.random.default_rng(0).random((16, 16, 3, 3)) < 0.2
    assert found(wide, "fast", masks={"w1": Kept(mask, fixed=False)}) == []


def test_an_infinite_value_stays_where_it_was() -> None:
    """Tiles mix values: what is no number spreads within its tiles at most."""
    inputs, attrs = drawn("conv2d", 2, (16, 16), (12, 12), 0)
    inputs[0][0, 3, 5, 5] = np.inf
    program, _, given_arrays = single("conv2d", inputs, attrs)
    (found,) = outputs(program, given_arrays)
    bad = ~np.isfinite(found).all(1)
    assert bad[0, 4:7, 4:7].all()
    assert not bad[1].any()
    assert not np.delete(np.delete(bad[0], range(3, 8), 0), range(3, 8), 1).any()
