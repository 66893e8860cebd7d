"""The native engine as a session sees it: what it refuses, what auto does then, exact budgets, threads."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow import bundle, engines
from regrow.engines import core
from regrow.engines.native import NativeEngine
from regrow.plan import make as planner

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tiny: ModuleType, tmp_path: Path) -> str:
    tiny.write(tmp_path / "m.regrow")
    return str(tmp_path / "m.regrow")


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core without two of the ops that the bundle needs."""
    made = {kind: lower for kind, lower in planner.LOWER.items() if kind not in ("linear", "cross_entropy")}
    monkeypatch.setattr(planner, "LOWER", made)


def test_auto_takes_native_first(path: str) -> None:
    model = regrow.open(path)
    assert (model.engine.name, model.engine_note) == ("native", "")
    assert engines.available()[0] == "native"


@pytest.mark.usefixtures("lacking")
def test_every_lacking_op_is_named_at_open(path: str) -> None:
    with pytest.raises(regrow.UnsupportedError, match=r"has no op cross_entropy .*, linear .*engine='onnx'"):
        regrow.open(path, engine="native")


@pytest.mark.usefixtures("lacking")
def test_auto_falls_back_and_says_so(path: str, tiny: ModuleType, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("onnxruntime")
    model = regrow.open(path)
    assert model.engine.name == "onnx"
    assert "has no op cross_entropy" in model.engine_note
    assert "has no op cross_entropy" in repr(model)
    x, y = tiny.support()
    np.savez(tmp_path / "s.npz", x=x, y=y)
    code, out, err = run("adapt", path, tmp_path / "s.npz", "-o", tmp_path / "a.delta", "--json")
    assert code == 0
    assert json.loads(out)["engine"] == "onnx"
    assert "auto: " in err
    assert "has no op cross_entropy" in err


def test_the_budget_is_exact(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    need = regrow.open(path).peak_bytes(len(x))
    report = regrow.open(path, budget_bytes=need).session().adapt(x, y)
    assert (report.peak_bytes, report.memory, report.exact) == (need, "exact", True)
    with pytest.raises(regrow.BudgetError, match=f"needs {need} bytes, budget_bytes is {need - 1}"):
        regrow.open(path, budget_bytes=need - 1).session().adapt(x, y)


def test_queries_keep_to_the_budget(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    model = regrow.open(path)
    session = model.session()
    session.adapt(x, y)
    expected = session.predict(np.tile(x, (10, 1))).logits
    tight = regrow.open(path, budget_bytes=model.peak_bytes(len(x))).session()
    tight.adapt(x, y)
    np.testing.assert_allclose(tight.predict(np.tile(x, (10, 1))).logits, expected, rtol=1e-6)


def test_sessions_of_one_model_run_in_threads(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    model = regrow.open(path)
    alone = model.session()
    alone.adapt(x, y, steps=200)
    results: list[Any] = []

    def work() -> None:
        for _ in range(5):
            session = model.session()
            session.adapt(x, y, steps=200)
            results.append(session.parameters["head.weight"].tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert set(results) == {alone.parameters["head.weight"].tobytes()}


def test_packed_and_whole_weights_agree(path: str, tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tiny.support()
    made = []
    monkeypatch.setattr("regrow.engines.native.LEAST_MATRIX", 0)
    for below in (0.0, 1.0):
        monkeypatch.setattr("regrow.engines.native.SPARSE_BELOW", below)
        session = regrow.open(path, engine="native").session()
        session.adapt(x, y)
        made.append(session.parameters["head.weight"])
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5, atol=1e-7)
    assert not made[1][~tiny.kept()].any()


def test_arrays_of_any_layout_are_taken(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    engine = NativeEngine(bundle.read(path))
    session = regrow.open(path).session()
    params = dict(session.parameters)
    turned = {n: np.asfortranarray(a) for n, a in params.items()}
    active, state = np.ones(tiny.C, np.bool_), {"velocity": np.zeros(tiny.C, np.float32)}
    plain = engine.adapt(x, y, active, params, state, 3)
    other = engine.adapt(np.asfortranarray(x), y, active, turned, state, 3)
    assert plain.losses.tobytes() == other.losses.tobytes()


def test_a_label_the_core_refuses_is_an_error(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    engine = NativeEngine(bundle.read(path))
    params = dict(regrow.open(path).session().parameters)
    state = {"velocity": np.zeros(tiny.C, np.float32)}
    with pytest.raises(regrow.BundleError, match="a label or a row number out of range"):
        engine.adapt(x, y + tiny.C, np.ones(tiny.C, np.bool_), params, state, 3)


def test_a_plan_is_chosen_by_name_or_by_the_budget(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle at hand has no convolution, so both plans are one: it is the asking that is looked at."""
    asked: list[bool] = []
    real = planner.plan_adapt

    def plan_adapt(*args: Any, **named: Any) -> Any:
        asked.append(named["style"].recompute)
        return real(*args, **named)

    monkeypatch.setattr("regrow.engines.native.plan_adapt", plan_adapt)
    need = regrow.open(path).peak_bytes(4)
    assert regrow.open(path, plan="small").peak_bytes(4) == need
    regrow.open(path, budget_bytes=need).peak_bytes(4)
    regrow.open(path, budget_bytes=need - 1).peak_bytes(4)
    regrow.open(path, budget_bytes=need - 1, plan="fast").peak_bytes(4)
    assert asked == [False, True, False, False, True, False]
    with pytest.raises(regrow.UnsupportedError, match="plan is 'tiny', expected one of auto, fast, small"):
        regrow.open(path, plan="tiny")


@pytest.mark.parametrize(("widest", "wide"), [("avx512", True), ("avx2", False), ("baseline", False)])
def test_rows_of_whole_vectors_are_for_the_widest_core(
    path: str, monkeypatch: pytest.MonkeyPatch, widest: str, wide: bool
) -> None:
    asked: list[bool] = []
    real = planner.plan_adapt

    def plan_adapt(*args: Any, **named: Any) -> Any:
        asked.append(named["style"].wide)
        return real(*args, **named)

    monkeypatch.setattr("regrow.engines.native.plan_adapt", plan_adapt)
    monkeypatch.setattr("regrow.engines.core.widest", lambda: widest)
    regrow.open(path).peak_bytes(4)
    regrow.open(path, plan="small").peak_bytes(4)
    assert asked == [wide, False]


def test_what_one_adaptation_made_is_not_touched_by_the_next(path: str, tiny: ModuleType) -> None:
    x, y = tiny.support()
    engine = NativeEngine(bundle.read(path))
    params = dict(regrow.open(path).session().parameters)
    active, state = np.ones(tiny.C, np.bool_), {"velocity": np.zeros(tiny.C, np.float32)}
    first = engine.adapt(x, y, active, params, state, 3)
    before = {n: a.copy() for n, a in (first.params | first.state | first.statistics).items()}
    second = engine.adapt(x, y, active, first.params, first.state, 5)
    for name, array in (first.params | first.state | first.statistics).items():
        assert array.tobytes() == before[name].tobytes()
    assert (first.losses.shape, second.losses.shape) == ((3,), (5,))
    assert any((second.params[n] != first.params[n]).any() for n in params)


def test_onnxruntime_has_no_small_plan(path: str) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(regrow.UnsupportedError, match="engine onnx: plan is 'small'"):
        regrow.open(path, engine="onnx", plan="small")
