"""The benchmark: its arithmetic, its protocol, and one short run through child processes."""

import io
import json
import statistics
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow import engines
from regrow.bench import machine, memory
from regrow.bench.peers import Peer, RefusedError, found
from regrow.bench.run import measure
from regrow.bench.stats import ratios, spread
from regrow.bench.subject import Episode, read_episode, serve
from regrow.cli import main
from regrow.progress import Progress


@pytest.fixture
def bundle(tiny: ModuleType, tmp_path: Path) -> str:
    path = tmp_path / "m.regrow"
    tiny.write(path, max_loss_rise=100.0)
    return str(path)


def test_the_interval_covers_the_median_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    for n in (6, 15, 30):
        made = [spread(rng.lognormal(size=n).tolist()) for _ in range(2000)]
        covered = np.mean([s.low <= 1.0 <= s.high for s in made])  # the median of this distribution is 1
        assert 0.95 <= covered + 0.01 < 1.0


def test_medians_and_small_samples() -> None:
    values = [3.0, 1.0, 2.0, 10.0]
    made = spread(values)
    assert (made.median, made.low, made.high, made.count) == (statistics.median(values), 1.0, 10.0, 4)
    assert spread([5.0]).to_json() == {"median": 5.0, "low": 5.0, "high": 5.0, "count": 1}
    # The disturbance that hits both halves of a pair drops out.
    assert ratios([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]).low == 2.0


def test_memory_is_in_bytes() -> None:
    assert 5e6 < memory.resident() <= memory.peak() < 1e12


def test_the_machine_is_described() -> None:
    facts = machine.describe()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["versions"]["regrow"] == regrow.__version__
    assert facts["date"].endswith("+00:00")


def test_a_folder_without_a_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert machine.commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert machine.commit(tmp_path) is None


class Doubler:
    """A subject whose answers can be foretold."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def adapt(self) -> None:
        self.calls.append("adapt")

    def predict(self, count: int) -> Any:
        self.calls.append(f"predict {count}")
        return np.full((count, 2), 0.5)


def test_a_subject_answers_line_by_line() -> None:
    subject, out = Doubler(), io.StringIO()
    lines = "adapt\npredict 3\nlogits 2\nsing\nquit\nadapt\n"
    assert serve(lambda: subject, stdin=io.StringIO(lines), stdout=out) == 0
    first, adapted, predicted, logits, wrong = map(json.loads, out.getvalue().splitlines())
    assert first["ready"]
    assert first["peak_bytes"] >= first["imported_bytes"] > 0
    assert set(adapted) == set(predicted) == {"ms", "cpu_ms"}
    assert logits == {"logits": [[0.5, 0.5], [0.5, 0.5]]}
    assert "unknown request 'sing'" in wrong["refused"]
    assert subject.calls == ["adapt", "predict 1", "adapt", "predict 3", "predict 2"]


def test_a_subject_that_cannot_says_why() -> None:
    out = io.StringIO()

    def refuse() -> Doubler:
        raise regrow.UnsupportedError("no backbone")

    assert serve(refuse, stdin=io.StringIO(), stdout=out) == 2
    assert json.loads(out.getvalue()) == {"refused": "no backbone"}


def test_every_engine_present_is_a_peer(tiny: ModuleType) -> None:
    names = [peer.name for peer in found()]
    assert names[: len(engines.available())] == list(engines.available())
    assert ("torch" in names) == (util.find_spec("torch") is not None)


def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"bench: ghost: its process ended .*No module named"):
        Peer("ghost", lambda bundle, episode: ["regrow_no_such_module"]).start("b", "e")


def test_a_short_run_prints_everything(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", bundle, "--repeat", "2", "--cold", "1", "--only", "onnx", "--json"]
    plot = tmp_path / "plot.png"
    if util.find_spec("matplotlib"):
        words += ["--plot", str(plot)]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    onnx = facts["subjects"]["onnx"]
    for figure in (
        "adapt_ms",
        "predict_1_ms",
        "predict_75_ms",
        "cold_ms",
        "above_import_bytes",
        "peak_bytes",
    ):
        assert onnx[figure]["low"] > 0
    assert onnx["peak_bytes"]["median"] > onnx["above_import_bytes"]["median"]
    assert onnx["cold_ms"]["median"] > onnx["adapt_ms"]["median"]
    assert (facts["support"], facts["ways"], facts["steps"], facts["ratios"]) == (5, 5, 5, {})
    assert len(facts["raw"]["onnx"]["adapt_ms"]) == 2
    assert facts["bytes"]["total"] == Path(bundle).stat().st_size
    assert not plot.exists() or plot.read_bytes().startswith(b"\x89PNG")


def test_the_text_form_has_a_column_per_subject() -> None:
    from regrow.cli.bench import _text

    figure = {"median": 1234.5, "low": 0.01, "high": 2000.0}
    record = {"adapt_ms": figure, "peak_bytes": {k: v * 1e6 for k, v in figure.items()}, "output_error": 1e-6}
    facts = {
        "bundle": {"path": "m.regrow", "name": "m"},
        "support": 5,
        "ways": 5,
        "steps": 5,
        "repeat": 2,
        "machine": {**machine.describe(), "load_after": 0.5, "commit": "abc"},
        "planned_bytes": 1000,
        "subjects": {"onnx": record, "torch": record},
        "ratios": {"torch / onnx": {"adapt_ms": {"median": 2.0, "low": 1.0, "high": 3.0}}},
        "skipped": {"native": "not built"},
        "bytes": {"total": 4000, "weights": 1000, "dense_fp32": 2000},
    }
    lines = _text(facts).splitlines()
    assert lines[2].split() == ["onnx", "torch", "torch", "/", "onnx"]
    row = next(line for line in lines if line.startswith("adaptation, ms"))
    assert row.count("1234 [0.01, 2000]") == 2
    assert row.endswith("2 [1, 3]")
    assert lines[-1] == "skipped native: not built"
    assert "commit abc" in _text(facts)


def test_a_subject_that_computes_something_else_is_not_timed(bundle: str, tmp_path: Path) -> None:
    liar = tmp_path / "regrow_liar.py"
    liar.write_text(
        "import sys\nfrom regrow.bench.engine import EngineSubject\n"
        "from regrow.bench.subject import read_episode, serve\nimport regrow\n"
        "class Liar(EngineSubject):\n    def predict(self, count):\n        return -super().predict(count)\n"
        "serve(lambda: Liar(regrow.open(sys.argv[1]), read_episode(sys.argv[2])))\n"
    )
    peers = [p for p in found() if p.name == "onnx"]
    peers.append(Peer("liar", lambda bundle, episode: ["regrow_liar", bundle, episode]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        facts = measure(bundle, peers, support=4, repeat=1, cold=1, progress=Progress(4, "bench"))
    assert list(facts["subjects"]) == ["onnx"]
    assert "outputs differ from onnx's" in facts["skipped"]["liar"]


def test_nothing_to_measure_is_an_error(bundle: str) -> None:
    with pytest.raises(regrow.UnsupportedError, match=r"pip install 'regrow\[onnx\]'"):
        measure(bundle, [], support=5, repeat=1, cold=1, progress=Progress(1, "bench"))


def test_episodes_travel_as_arrays(tmp_path: Path) -> None:
    sent = Episode(np.ones((2, 3), np.float32), np.array([0, 1]), np.zeros((4, 3), np.float32))
    np.savez(tmp_path / "e.npz", x=sent.x, y=sent.y, query=sent.query)
    for a, b in zip(sent, read_episode(tmp_path / "e.npz"), strict=True):
        np.testing.assert_array_equal(a, b)
