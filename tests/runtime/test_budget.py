"""Budgets: the plan refuses before anything runs, the arena cap holds what the plan cannot know."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.inference import CHUNK

Make = Callable[..., regrow.Model]
Looks = Callable[[regrow.Session], tuple[Any, ...]]


def test_a_plan_that_does_not_fit_says_what_would(tiny: ModuleType, make: Make, looks: Looks) -> None:
    need = make().peak_bytes
    budget = (need(250) + need(240)) // 2
    model = make(opening={"budget_bytes": budget})
    session = model.session()
    x, y = tiny.support()
    before = looks(session)
    with pytest.raises(regrow.BudgetError) as caught:
        session.adapt(np.tile(x, (40, 1)), np.tile(y, 40))
    fits = max(n for n in range(1, 800) if need(n) <= budget)
    message = str(caught.value)
    for part in (
        f"needs {need(800)} bytes",
        f"budget_bytes is {budget}",
        f"{fits} samples would fit the plan",
    ):
        assert part in message
    assert looks(session) == before
    assert session.adapt(x, y).memory == ("exact" if model.engine.exact_memory else "bounded")


def test_a_budget_below_one_sample(tiny: ModuleType, make: Make) -> None:
    session = make(opening={"budget_bytes": 64}).session()
    with pytest.raises(regrow.BudgetError, match="not even one sample fits"):
        session.adapt(*tiny.support())


def test_what_the_plan_did_not_foresee_is_capped(tiny: ModuleType, make: Make, looks: Looks) -> None:
    model = make(opening={"budget_bytes": 10_000})
    session = model.session()
    before = looks(session)
    state = session._state
    x, y = np.tile(tiny.support()[0], (100, 1)), np.tile(tiny.support()[1], 100)
    active = np.ones(tiny.C, np.bool_)
    # Past the plan, as an engine whose graphs need more than their programs would be.
    with pytest.raises(
        regrow.BudgetError,
        match=r"more than the 10000 bytes given \(\d+ asked for with \d+ left\)|needs \d+ bytes, .* 10000;",
    ):
        model.engine.adapt(x, y, active, state.params, state.slots, 5)
    # The engine survives, and so does one beside it with another budget.
    roomy = make("roomy", opening={"budget_bytes": 10_000_000})
    assert roomy.engine.adapt(x, y, active, state.params, state.slots, 5).final_loss > 0
    with pytest.raises(regrow.BudgetError):
        model.engine.adapt(x, y, active, state.params, state.slots, 5)
    assert looks(session) == before
    assert model.session().adapt(*tiny.support()).loss == pytest.approx(
        make("free").session().adapt(*tiny.support()).loss
    )


@pytest.mark.parametrize("room", [CHUNK, 9, 1])
def test_queries_are_split_until_they_fit(
    room: int, tiny: ModuleType, model: regrow.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.tile(tiny.support()[0], (10, 1))
    expected = model.session().predict(x).logits
    predict, sizes = model.engine.predict, []

    def cramped(x: Any, *rest: Any) -> Any:
        if len(x) > room:
            raise regrow.BudgetError("no room")
        sizes.append(len(x))
        return predict(x, *rest)

    monkeypatch.setattr(model.engine, "predict", cramped)
    np.testing.assert_allclose(model.session().predict(x).logits, expected, rtol=1e-6)
    assert sum(sizes) == len(x)


def test_one_query_that_does_not_fit_is_an_error(
    tiny: ModuleType, model: regrow.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise regrow.BudgetError("no room")

    monkeypatch.setattr(model.engine, "predict", full)
    with pytest.raises(regrow.BudgetError, match="no room"):
        model.session().predict(tiny.support()[0])
