"""The suite of peers: what it asks of them, what it makes of their answers, and one short run."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from benchmarks import case as cases
from benchmarks import figures, prepare, suite, suite_page, suite_table, turns
from benchmarks.gpu_variants import variants
from benchmarks.origin import sources
from benchmarks.peers import PEERS, Entry
from benchmarks.peers.torch_eager import Eager
from benchmarks.peers.torch_net import Net
from benchmarks.setup_peers import ENVIRONMENTS
from benchmarks.workloads import CUT, WORKLOADS, Work, flops, parameters, workload
from benchmarks.workloads import cases as works

ROOT = Path(__file__).resolve().parents[2]


def test_every_peer_has_a_file_and_an_environment() -> None:
    assert len({entry.name for entry in PEERS}) == len(PEERS) >= 12
    for entry in PEERS:
        assert (ROOT / "benchmarks" / "peers" / f"{entry.module}.py").exists()
        assert {entry.environment, entry.maker or entry.environment} <= {"regrow", *ENVIRONMENTS}
    assert all("==" in package for wanted in ENVIRONMENTS.values() for package in wanted)


def test_the_names_of_cases_are_files_of_their_own() -> None:
    full = works("full")
    assert len({work.name for work in full}) == len(full) > 80
    assert all(Path(work.name).name == work.name and " " not in work.name for work in full)


@pytest.mark.parametrize("name", WORKLOADS)
def test_layers_are_the_module_that_torch_makes_of_them(name: str) -> None:
    for share in (1.0, *CUT.values()):
        what = workload(name, share)
        net = Net(what.layers, what.shape)
        made = {n: tuple(p.shape) for n, p in net.named_parameters()}
        assert made == parameters(what.layers, what.shape)
        assert set(what.last) < {n.partition(".")[0] for n in made}
        assert net(torch.rand(2, *what.shape)).shape == (2, 5)


def test_multiply_adds_are_counted() -> None:
    layers = (("conv", "a", 4, 3, 2, 1), ("relu",), ("flatten",), ("linear", "head", 5))
    # 4 filters of 2x3x3 at 3x3 places; 36 inputs of 5 outputs
    assert flops(layers, (2, 5, 5)) == 2 * (4 * 18 * 9 + 36 * 5)
    assert flops(workload("W1").layers, (1, 28, 28)) == pytest.approx(19.63e6, rel=1e-3)


@pytest.fixture
def small(tmp_path: Path) -> cases.Case:
    work = Work("W4s5", "90 %", "kept")
    case = prepare.make(work, tmp_path / work.name)
    cases.write(case)
    return case


def test_a_case_survives_the_disk(small: cases.Case) -> None:
    found = cases.read(small.folder)
    assert found.layers == small.layers
    assert found.moving == small.moving
    for kind in ("weights", "masks"):
        ours, theirs = getattr(small, kind), getattr(found, kind)
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_pruning_leaves_its_share_and_no_filter_empty(small: cases.Case) -> None:
    for name, kept in small.masks.items():
        assert 0.05 < kept.mean() < 0.15
        assert kept.reshape(len(kept), -1).any(1).all()
        assert np.array_equal(small.weights[name] != 0, kept)


def test_the_usual_loop_agrees_with_the_reference(small: cases.Case) -> None:
    wanted = prepare.expected(small)
    assert wanted.torch_error < 1e-5
    peer = Eager(small, ["tuned"])
    peer.adapt(5)
    assert wanted.error(peer.predict(peer.laid(small.query)).astype(np.float64)) < 1e-5
    # What the check is there for: one step less, or a rate of another, is no such result.
    peer.reset()
    peer.adapt(4)
    assert wanted.error(peer.predict(peer.laid(small.query)).astype(np.float64)) > turns.TOLERANCE


def test_a_peer_that_moves_the_head_alone_is_found_out(tmp_path: Path) -> None:
    """In small steps the outputs hardly change, so that an error relative to them would be small, too."""
    case = prepare.make(Work("W5s5", "dense", "all"), tmp_path)
    wanted = prepare.expected(case)
    peer = Eager(replace(case, moving=("head.weight", "head.bias")), [])
    peer.adapt(5)
    found = peer.predict(peer.laid(case.query)).astype(np.float64)
    assert np.max(np.abs(found - wanted.logits)) < 0.01 * np.max(np.abs(wanted.logits))
    assert wanted.error(found) > turns.TOLERANCE


@pytest.mark.parametrize("name", ["eager", "4 users at once"])
def test_what_a_gpu_is_asked_is_the_same_adaptation(name: str, tmp_path: Path) -> None:
    case = prepare.write(Work("W4s5", "dense", "all"), tmp_path, bundle=False)
    variant = variants(case, "cpu", 75)[name]()
    assert variant.name == name
    arrays = [torch.from_numpy(a).expand(variant.users, *a.shape) for a in (case.x, case.y, case.query)]
    found = variant.episode(*arrays)
    assert len(found) == variant.users
    assert prepare.read_expected(case.folder).error(found[-1].double().numpy()) < 1e-5


def test_kept_weights_alone_move(small: cases.Case) -> None:
    peer = Eager(small, [])
    peer.adapt(5)
    for name, parameter in peer.net.named_parameters():
        moved = parameter.detach().numpy() != small.weights[name]
        if name in small.masks:
            assert not moved[~small.masks[name]].any()
            assert moved[small.masks[name]].any()


def test_what_is_frozen_comes_before_what_adapts(small: cases.Case) -> None:
    head = replace(small, moving=("head.weight", "head.bias"))
    assert head.prefix() == len(head.layers) - 1
    assert small.prefix() == 0
    with pytest.raises(NotImplementedError, match="nothing to cache"):
        Eager(small, ["cached"])


def test_pairs_are_of_the_same_round() -> None:
    slow, fast = {0: 10.0, 3: 40.0}, {0: 1.0, 1: 9.0, 2: 9.0, 3: 2.0}
    found = figures.all_ratios({"slow": {"adapt_ms": slow}, "regrow native": {"adapt_ms": fast}})
    assert found["slow / regrow native"]["adapt_ms"]["median"] == 15.0
    assert found["slow / regrow native"]["adapt_ms"]["count"] == 2


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of our own engines and of torch, where the project's own environment has them."""
    folder = tmp_path_factory.mktemp("suite")
    words = ["--rounds", "3", "--cold", "1", "--only", "regrow onnx", "PyTorch eager", "MNN"]
    command = [sys.executable, "-m", "benchmarks.suite", str(folder / "out.json"), *words]
    env = os.environ | {"REGROW_PEERS": str(folder / "none")}
    paths = [str(ROOT / part) for part in ("runtime", "exporter", "trainer")]
    env["PYTHONPATH"] = os.pathsep.join([*paths, env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--work", str(folder / "work"), "--case", "W4s5-dense-all"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "case 1 of 1" in done.stderr
    made: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return made


def test_a_short_run_measures_who_is_there_and_names_who_is_not(result: dict[str, Any]) -> None:
    (case,) = result["cases"]
    assert case["peers"]["MNN"] == {
        "status": "not installed",
        "reason": "python -m benchmarks.setup_peers mnn",
    }
    for name in ("regrow onnx", "PyTorch eager"):
        fact = case["peers"][name]
        assert fact["status"] == "measured"
        assert fact["error"] < 1e-5
        assert fact["adapt_ms"]["count"] == 3
        assert 0 < fact["step_ms"]["p50"] < fact["cold_ms"]["median"]
        assert fact["above_floor_bytes"]["median"] > 1e6
        assert fact["again_ms"]["count"] == 3
        assert fact["artifact_bytes"] > 1000
    assert case["ratios"]["PyTorch eager / regrow onnx"]["adapt_ms_cpu"]["count"] == 3
    assert result["ceilings"]["gemm_gflops"] > 0
    assert result["machine"]["cpu"]
    assert result["cases"][0]["sources"] == sources()
    assert result["command"].startswith("python -m benchmarks.suite ")
    assert case["peers"]["regrow onnx"]["planned_bytes"] > 0


def test_a_result_of_other_code_is_gone_on_with_only_when_asked(
    result: dict[str, Any], tmp_path: Path
) -> None:
    made = json.loads(json.dumps(result))
    path = tmp_path / "out.json"
    settings = argparse.Namespace(suite="short", threads=1, command=made["command"], mixed=False)

    def resumed(**changed: Any) -> Any:
        path.write_text(json.dumps(made), encoding="utf-8")
        return suite._resumed(path, argparse.Namespace(**vars(settings) | changed), sources())

    made["machine"]["commit"] = "another, with the same code"
    assert resumed() == made
    made["cases"][0]["sources"] = "other"
    with pytest.raises(SystemExit, match="W4s5-dense-all: measured by other code"):
        resumed()
    assert len(resumed(mixed=True)["cases"]) == 1
    with pytest.raises(SystemExit, match="expected short on 2"):
        resumed(threads=2)


def test_the_page_shows_every_peer_and_escapes_what_it_shows(result: dict[str, Any]) -> None:
    made = json.loads(json.dumps(result))
    made["cases"][0]["peers"]["MNN"]["reason"] = "<script>alert(1)</script>"
    text = suite_page.page(made)
    assert "<script>" not in text
    assert "http" not in text.replace("http-equiv", "")
    for name in ("regrow onnx", "PyTorch eager", "MNN"):
        assert name in text
    written = suite_page.markdown(made)
    assert "| PyTorch eager |" in written
    assert made["machine"]["date"] in written


def test_a_noisy_machine_gets_fewer_digits() -> None:
    assert suite_table.short(1.2345) == "1.23"
    assert suite_table.short(1.2345, noisy=True) == "1.2"
    assert suite_table.short(1234.5) == "1230"
    assert suite_table.short(1234.5, noisy=True) == "1200"


def test_an_entry_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    entry = Entry("ghost", "mnn_train", "mnn")
    assert turns.missing(entry) in (None, "python -m benchmarks.setup_peers mnn")
