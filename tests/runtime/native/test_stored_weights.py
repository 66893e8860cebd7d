"""Weights as a bundle stores them become the floats that numpy makes of them, and nothing else is touched."""

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow.engines import core
from regrow.plan.arena import lay_out
from regrow.plan.builder import NONE, Buffer, Call, Section
from regrow.plan.make import Plan
from tests.runtime.native.drive import run, run_words

WIDTHS = range(core.library().regrow_width() + 1 if core.PATH.exists() else 0)
pytestmark = pytest.mark.skipif(not WIDTHS, reason="the native core is not built: no C compiler here")


def reading(count: int, rows: int, item: int, scaled: bool, listed: bool) -> Plan:
    """One call that widens, and a copy of what it made."""
    values, scales, ends = (
        Buffer(size, name, pinned=True)
        for size, name in ((item * count, "v"), (4 * rows, "s"), (4 * rows + 4, "e"))
    )
    y, out = Buffer(4 * count), Buffer(4 * count, "out", pinned=True)
    words = (y, values, scales if scaled else NONE, ends if listed else NONE, rows, count, int(item == 1))
    reads = (values, *([scales] if scaled else []), *([ends] if listed else []))
    calls: dict[Section, list[Call]] = {
        "once": [
            Call("stored", words, reads, (y,)),
            Call("copy", (1, out, y, 0, 0, 1, 4 * count, 1, 1), (y,), (out,)),
        ],
        "step": [],
        "finish": [],
    }
    blocks = ("arena", *(b for b, used in (("e", listed), ("out", True), ("s", scaled), ("v", True)) if used))
    return Plan(calls, lay_out(calls, ()), blocks, {})


@pytest.mark.parametrize("width", WIDTHS)
def test_every_half_there_is(width: int) -> None:
    """Subnormal ones, infinite ones and what is no number among them."""
    stored = np.arange(2**16).astype(np.uint16).view(np.float16)
    made = np.empty(2**16, np.float32)
    status, _ = run(reading(2**16, 1, 2, False, False), {"v": stored, "out": made}, width=width)
    assert status == 0, core.text(status)
    np.testing.assert_array_equal(made, stored.astype(np.float32))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("listed", [False, True])
def test_levels_of_rows(width: int, listed: bool) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-127, 128, 7 * 45).astype(np.int8)
    scales = rng.random(7).astype(np.float32)
    ends = np.array([0, 0, 3, 60, 61, 200, 315, 315], np.uint32) if listed else np.arange(0, 316, 45)
    made = np.empty(stored.size, np.float32)
    arrays = {"v": stored, "s": scales, "e": ends.astype(np.uint32), "out": made}
    status, _ = run(reading(stored.size, 7, 1, True, listed), arrays, width=width)
    assert status == 0, core.text(status)
    np.testing.assert_array_equal(made, stored.astype(np.float32) * np.repeat(scales, np.diff(ends)))


def test_ends_that_do_not_end_there_are_refused() -> None:
    stored, scales, made = np.zeros(8, np.int8), np.ones(2, np.float32), np.empty(8, np.float32)
    for ends in ([0, 4, 9], [1, 4, 8], [0, 9, 8]):
        given: dict[str, NDArray[np.generic]] = {"v": stored, "s": scales, "out": made}
        status, _ = run(reading(8, 2, 1, True, True), given | {"e": np.array(ends, np.uint32)})
        assert core.text(status) == "a label or a row number out of range"


def test_changed_words_read_nothing_else() -> None:
    plan, rng = reading(315, 7, 1, True, True), np.random.default_rng(0)
    whole = {
        "v": np.full(379, 7, np.int8),
        "s": np.full(71, 7, np.float32),
        "out": np.full(379, 7, np.float32),
    }
    inside: dict[str, NDArray[np.generic]] = {
        "v": whole["v"][32:-32],
        "s": whole["s"][32:-32],
        "out": whole["out"][32:-32],
        "e": np.arange(0, 316, 45).astype(np.uint32),
    }
    words, statuses = plan.words(core.code), set()
    for _ in range(1500):
        changed = words.copy()
        for at in rng.integers(0, len(words), int(rng.integers(1, 4))):
            changed[at] = rng.choice([0, 1, 2, 15, 64, 2**16, 2**31, 2**32 - 1, int(changed[at]) ^ 1 << 4])
        statuses.add(run_words(changed, plan, inside)[0])
        for name, array in whole.items():
            assert (array[:32] == 7).all(), name
            assert (array[-32:] == 7).all(), name
    assert len(statuses) > 3
