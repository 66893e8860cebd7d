"""The pack as it is exported: covering, the same every time, and refused where it would prove nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow.conformance import pack, subjects
from regrow.conformance.judge import AFTER, BEFORE, negligible
from regrow.conformance.run import verdicts
from regrow.errors import UnsupportedError
from regrow.ops import OPS
from regrow_exporter.conformance import make, ties, torch_side
from regrow_exporter.conformance.__main__ import _make
from regrow_exporter.conformance.cases import CASES
from regrow_exporter.verify import VerificationError

SOME = "conv4-[ci]*"  # the complement of a mask, and int8
COMMAND = "import sys; from regrow.cli.conformance import COMMAND; from argparse import ArgumentParser as A; "
COMMAND += "p = A(); p.set_defaults(json=False); COMMAND.configure(p); sys.exit(COMMAND.run(p.parse_args()))"


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance") / "pack"
    _make(folder, SOME)
    return folder


def failures(cases):
    chosen = {name: subjects.subject(name) for name in subjects.present()}
    return [verdict.to_json() for verdict in verdicts(cases, chosen) if not verdict.passed]


def test_every_engine_passes_and_only_what_may_move_has_moved(some):
    cases = {case.name: case for case in pack.read(some).cases}
    assert set(cases) == {"conv4-complement", "conv4-int8"}
    assert failures(cases.values()) == []
    expected = cases["conv4-complement"].arrays(pack.EXPECTED)
    for name in ("blocks.0.conv.weight", "blocks.1.conv.weight"):
        start, new = expected[f"start:{name}"], expected[f"new:{name}"]
        np.testing.assert_array_equal(new[start != 0], start[start != 0])
        assert np.count_nonzero(new != start) == np.count_nonzero(start == 0) > 0.7 * start.size
    assert negligible(expected) == {f"new:blocks.{i}.conv.bias" for i in range(3)}
    moved = {n for n in cases["conv4-int8"].arrays(pack.EXPECTED) if n.startswith("new:")}
    assert all(n.startswith(("new:blocks.2.", "new:head.")) for n in moved)
    for case in cases.values():
        told = {n for n in case.facts.tolerances if n not in negligible(case.arrays(pack.EXPECTED))}
        assert max(case.facts.tolerances[n] for n in told) <= make.CEILING
        assert set(case.facts.tolerances) > {"loss", "final_loss", BEFORE, AFTER}
        assert set(case.arrays(pack.SUPPORT)) == set(case.facts.adapt.inputs)
        assert set(case.arrays(pack.QUERY)) == set(case.facts.predict.inputs)


def test_the_command_writes_the_same_bytes_again(some, tmp_path):
    again = tmp_path / "again"
    line = [sys.executable, "-c", COMMAND, "export", str(again), "--case", SOME]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{again}: 2 cases" in done.stdout
    files = {p.relative_to(some): p.read_bytes() for p in some.rglob("*") if p.is_file()}
    assert files == {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert len(files) == 1 + 2 * 7
    line[-1] = "nothing"
    done = subprocess.run([*line, "--force"], capture_output=True, text=True, check=False)
    assert "no case matches 'nothing'" in done.stderr
    assert done.returncode


def test_the_plain_files_alone_are_enough(some, tmp_path):
    """Another runtime needs neither the bundle nor the manifest."""
    for case in pack.read(some).cases:
        about = json.loads(case.path(pack.ABOUT).read_text(encoding="utf-8"))
        assert {f"param:{n[4:]}" for n in about["adapt"]["outputs"] if n.startswith("new:")} <= set(
            about["adapt"]["defaults"]
        )


def test_what_torch_does_not_confirm_is_refused(tmp_path, monkeypatch):
    right = make.expect

    def wrong(*args):
        made = right(*args)
        return made | {"new:head.bias": made["new:head.bias"] * (1 + 1e-6)}

    monkeypatch.setattr(make, "expect", wrong)
    with pytest.raises(VerificationError, match=r"new:head\.bias: the reference differs from torch fp64"):
        make.write(tmp_path, "mlp-few-classes", CASES["mlp-few-classes"])
    assert list(tmp_path.iterdir()) == []


def test_an_episode_with_a_tie_or_a_tolerance_that_lets_mistakes_pass_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "CEILING", 1e-7)
    with pytest.raises(UnsupportedError, match="or a wrong result could pass"):
        make.write(tmp_path, "regression", CASES["regression"])
    monkeypatch.setattr(ties, "SHARE", 0.5)
    monkeypatch.setattr(make, "MAX_SEED", 3)
    with pytest.raises(UnsupportedError, match="none of 3 episodes is clear of ties"):
        make.write(tmp_path, "regression", CASES["regression"])


def test_few_classes_is_what_torch_computes_over_the_outputs_in_use():
    outputs, y = torch.randn(6, 5), torch.arange(6) % 3
    masked = outputs.clone()
    masked[:, 3:] = -torch.inf
    want = torch.nn.functional.cross_entropy(masked, y)
    torch.testing.assert_close(torch_side.in_use(outputs, y, 3), want)


@pytest.mark.slow
def test_the_whole_pack_passes_and_covers(tmp_path):
    _make(tmp_path / "pack", "*")
    cases = pack.read(tmp_path / "pack").cases
    assert [case.name for case in cases] == sorted(CASES)
    assert failures(cases) == []
    covered = {op for case in cases for op in case.facts.ops}
    assert covered <= set(OPS)
    assert {"conv2d", "matmul", "softmax", "batch_norm", "batch_norm_frozen", "max_pool2d"} <= covered
    assert len(covered) > len(OPS) / 2, sorted(set(OPS) - covered)
    assert {case.facts.rule for case in cases} == {"sgd", "momentum", "adam", "meta_sgd", "prototype"}


def test_the_specification_states_the_limits_and_the_number_of_cases():
    page = (Path(__file__).resolve().parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"# {len(CASES)} cases," in page
    assert make.FLOOR == 1e-4
    assert "at least 1e-4" in page
    assert f"would exceed {make.CEILING}" in page
    assert f"before a batch norm): {make.ROUNDING}." in page
    assert ties.SHARE == 100 * 2.0**-24
    assert "up to 100 roundings of fp32" in page
