"""Right engines pass; wrong ones do not, however small the mistake."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow import bundle as bundles
from regrow import engines
from regrow.conformance import pack, subjects
from regrow.conformance.judge import AFTER, BEFORE, errors, judge, outputs
from regrow.conformance.run import EXACT, verdicts
from regrow.engines import Adapted

Run = Callable[..., tuple[int, str, str]]
PARAMETERS = {"linear": {"new:head.weight", "new:head.bias"}, "metric": {"new:head.sums", "new:head.counts"}}


def test_everything_that_runs_here_passes(original: Path) -> None:
    chosen = {name: subjects.subject(name) for name in subjects.present()}
    assert {"onnx", "graphs", "reference"} <= set(chosen)
    made = list(verdicts(pack.read(original).cases, chosen))
    assert [(v.case, v.subject, v.worst) for v in made if not v.passed] == []
    assert len(made) == 2 * len(chosen)
    for verdict in made:
        found = {finding.output for finding in verdict.findings}
        assert found >= {"loss", "final_loss", BEFORE, AFTER} | PARAMETERS[verdict.case]
        assert verdict.worst is not None
        assert verdict.worst.tolerance == (EXACT if verdict.subject == "reference" else 1e-5)


def test_adapting_changed_what_it_should(original: Path) -> None:
    """Else a runtime that does nothing at all would pass."""
    for case in pack.read(original).cases:
        expected = case.arrays(pack.EXPECTED)
        still = expected | {n: expected[f"start:{n[4:]}"] for n in expected if n.startswith("new:")}
        assert min(e for n, e in errors(expected, still).items() if n.startswith("new:")) > 0.99
        assert errors(expected, expected | {AFTER: expected[BEFORE]})[AFTER] > 0.1


class Wrong:
    """An engine whose updates are a little too long, as with a gradient that is wrong by that factor."""

    def __init__(self, right: engines.Engine, factor: float, only: str) -> None:
        self.right, self.factor, self.only = right, factor, only

    def adapt(self, x: Any, y: Any, active: Any, params: Any, state: Any, steps: int) -> Adapted:
        losses = []
        for _ in range(steps):
            made = self.right.adapt(x, y, active, params, state, 1)
            moved = params[self.only] + np.float32(self.factor) * (made.params[self.only] - params[self.only])
            params, state = {**made.params, self.only: moved}, made.state
            losses.append(made.losses)
        final = self.right.adapt(x, y, active, params, state, 1).losses[0]
        return replace(made, params=params, losses=np.concatenate(losses), final_loss=float(final))

    def predict(self, x: Any, params: Any, statistics: Any) -> Any:
        return self.right.predict(x, params, statistics)


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.01, False), (0.999, False), (0.0, False)])
@pytest.mark.parametrize("only", ["head.weight", "head.bias"])
def test_a_wrong_gradient_fails(
    original: Path, monkeypatch: pytest.MonkeyPatch, engine: str, only: str, factor: float, passes: bool
) -> None:
    make = engines.pick(engine)[1]

    def wrong(name: str) -> tuple[str, Any]:
        return name, lambda bundle, **how: Wrong(make(bundle, **how), factor, only)

    monkeypatch.setattr(engines, "pick", wrong)
    cases = pack.read(original).matching("linear")
    (verdict,) = verdicts(cases, {engine: subjects.subject(engine)})
    assert verdict.passed is passes
    failed = {finding.output for finding in verdict.findings if not finding.passed}
    assert f"new:{only}" in failed or passes


def expected_of(original: Path) -> tuple[dict[str, Any], dict[str, float]]:
    (case,) = pack.read(original).matching("linear")
    return case.arrays(pack.EXPECTED), dict(case.facts.tolerances)


def test_what_is_missing_misshapen_or_no_number_fails(original: Path) -> None:
    expected, tolerances = expected_of(original)
    assert all(finding.passed for finding in judge(expected, expected, tolerances))
    for output in outputs(expected):
        missing = {name: array for name, array in expected.items() if name != output}
        misshapen = expected | {output: np.zeros((2, *expected[output].shape))}
        broken = expected | {output: np.full_like(expected[output], np.nan)}
        for found, problem in ((missing, "missing"), (misshapen, "shape "), (broken, "")):
            failed = [f for f in judge(expected, found, tolerances) if not f.passed]
            assert [f.output for f in failed] == [output]
            assert problem in failed[0].problem


def test_what_is_only_rounding_is_judged_by_its_share_of_the_whole() -> None:
    expected = {"new:a": np.array([1.0, 0.0]), "new:b": np.array([1e-12])}
    expected |= {"start:a": np.zeros(2), "start:b": np.zeros(1)}
    found = errors(expected, expected | {"new:b": np.array([-1e-9])})
    assert found["new:b"] == pytest.approx(1e-6, rel=2e-3)
    assert errors(expected, expected | {"new:a": np.array([1.01, 0.0])})["new:a"] == pytest.approx(
        0.01, rel=2e-3
    )


def test_the_command_prints_a_table_and_its_exit_code_says_whether_all_passed(
    folder: Path, conformance: Run
) -> None:
    code, out, _ = conformance("run", folder, "--engine", "onnx", "--engine", "reference")
    assert code == 0
    assert out.splitlines()[-1] == "4 passed, 0 failed"
    code, out, _ = conformance("run", folder, "--case", "met*", "--engine", "graphs", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["passed"], facts["failed"], facts["versions"]) == (1, 0, {"regrow": "0"})
    assert facts["results"][0]["case"] == "metric"
    code, _, err = conformance("run", folder, "--case", "nothing")
    assert code == 2
    assert "no case matches 'nothing', expected some of linear, metric" in err
    code, _, err = conformance("run", folder, "--engine", "tpu")
    assert code == 2
    assert "engine 'tpu': no such engine" in err


def test_an_engine_that_refuses_or_differs_fails_the_command(
    folder: Path, conformance: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(case: pack.Case) -> Any:
        raise bundles.fail(case.name, bundles.Words("no such op"), "one it has", "choose another engine")

    monkeypatch.setattr(subjects, "_reference", refuse)
    code, out, _ = conformance("run", folder, "--engine", "reference")
    assert code == 2
    assert "linear, reference: linear: found no such op" in out
    assert out.splitlines()[-1] == "0 passed, 2 failed"
    monkeypatch.setattr(subjects, "_reference", lambda case: {})
    code, out, _ = conformance("run", folder, "--engine", "reference", "--json")
    assert code == 2
    assert {f["problem"] for f in json.loads(out)["results"][0]["failures"]} == {"missing"}
    assert json.loads(out)["results"][0]["error"] is None


def test_export_without_the_extra_or_over_a_folder_is_refused(
    folder: Path, tmp_path: Path, conformance: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = conformance("export", folder)
    assert code == 2
    assert "exists already, expected a new file" in err
    monkeypatch.setattr("regrow.cli.conformance.importable", lambda module: module != "torch")
    code, _, err = conformance("export", tmp_path / "new")
    assert code == 2
    assert "needs torch, which is not installed; pip install 'regrow[train]'" in err
    assert not (tmp_path / "new").exists()
