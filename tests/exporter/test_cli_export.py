"""`regrow export` as a user types it: a checkpoint, a module of one's own, and what can go wrong."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

from safetensors.torch import save_file

import regrow
from regrow import checkpoint
from regrow.cli import main
from regrow_trainer.backbones.conv4 import Conv4
from tests.exporter.written import CONV4, written


def run(*words):
    return main([str(w) for w in words])


def test_a_checkpoint_becomes_a_bundle_with_its_masks_and_rates(tmp_path, capsys):
    ckpt, out = written(tmp_path / "c.safetensors"), tmp_path / "m.regrow"
    words = ["export", ckpt, "-o", out, "--onnx", tmp_path / "onnx", "--c", tmp_path / "c", "--c-samples", 3]
    assert run(*words, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bytes"] == out.stat().st_size
    assert printed["sparse"] == {"tensors": 1, "bytes": 159, "bound": 158.6}
    model = regrow.open(out)
    assert model.rule.steps == 2
    assert float(model.bundle.meta["lr"]) == 0.25  # the trained rate, not the recipe's first guess
    sparse = {p.name: p for p in model.manifest.parameters}["blocks.1.conv.weight"]
    assert (sparse.adaptable, sparse.kept) == ("kept", 36)
    assert model.manifest.provenance["backbone"] == CONV4
    assert model.manifest.provenance["method"] == "fomaml"
    assert {p.name for p in (tmp_path / "onnx").iterdir()} == {"adapt.onnx", "predict.onnx", "manifest.json"}
    assert "#define MODEL_SAMPLES      3u" in (tmp_path / "c" / "model.h").read_text()
    # The bundle gives the same C later.
    assert run("export", out, "--c", tmp_path / "again", "--c-samples", 3) == 0
    assert (tmp_path / "again/model.c").read_bytes() == (tmp_path / "c/model.c").read_bytes()
    assert run("export", out, "--c", tmp_path / "halves", "--c-samples", 3, "--c-plan", "small-fp16") == 0
    assert (tmp_path / "halves/model.c").exists()
    assert run("export", out, "--c", tmp_path / "fast", "--c-plan", "fast") == 2


def test_what_is_to_be_written_has_to_be_said(tmp_path, capsys):
    assert run("export", tmp_path / "m.regrow") == 2
    assert "is a bundle already; write it as C with --c DIR" in capsys.readouterr().err
    assert run("export", tmp_path / "c.safetensors") == 2
    assert "found no -o/--out" in capsys.readouterr().err


def test_the_table_for_people_says_what_was_and_was_not_measured(tmp_path, capsys):
    assert run("export", written(tmp_path / "c.safetensors"), "-o", tmp_path / "m.regrow") == 0
    text = capsys.readouterr().out
    assert "not measured: no episodes were given" in text
    assert "onnx engine, step-1 gradient" in text
    # 36 of 144 weights kept: 144 H(1/4) / 8 + 4 * 36 bytes.
    assert "above the information bound of mask + values, 159" in text


MODULE = """
from regrow_trainer.backbones.conv4 import Conv4
def build():
    return Conv4(width=4, depth=2)
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A user's package with a network, its weights and a few samples."""
    (tmp_path / "mynet.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(1)
    save_file(Conv4(width=4, depth=2).state_dict(), tmp_path / "w.safetensors")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((6, 1, 28, 28), np.float32))
    return tmp_path


def test_a_module_of_ones_own_is_exported_by_its_path(own_module, capsys):
    out = own_module / "m.regrow"
    words = ["export", "mynet:build", "-o", out, "--weights", own_module / "w.safetensors"]
    words += ["--example", own_module / "x.npy", "--adaptable", "head.*", "--lr", "0.02", "--steps", "3"]
    assert run(*words) == 0
    model = regrow.open(out)
    assert [p.name for p in model.adaptable] == ["head.weight", "head.bias"]
    assert model.rule.steps == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"backbone": {"path": "os:system", "args": {}}}, "outside regrow_trainer"),
        ({"backbone": {"path": "regrow_trainer.backbones.conv4:Conv5", "args": {}}}, "Conv5"),
        ({"backbone": {"path": CONV4["path"], "args": {"width": 4, "depth": 3}}}, "do not fit"),
        ({"rule": {"path": "mymodule:rule", "args": {}}}, "outside regrow_trainer"),
    ],
)
def test_a_foreign_checkpoint_is_refused_in_one_line(tmp_path, capsys, change, expected):
    ckpt = written(tmp_path / "c.safetensors", masked=False, **change)
    assert run("export", ckpt, "-o", tmp_path / "m.regrow") == 2
    text = capsys.readouterr().err.splitlines()[-1]
    assert expected in text
    assert not (tmp_path / "m.regrow").exists()


def test_an_existing_bundle_is_not_replaced_unasked(tmp_path, capsys):
    (tmp_path / "m.regrow").write_bytes(b"precious")
    assert run("export", written(tmp_path / "c.safetensors"), "-o", tmp_path / "m.regrow") == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "m.regrow").read_bytes() == b"precious"


@pytest.mark.parametrize("missing", ["nosuch.safetensors", "nosuch.module:build"])
def test_what_is_not_there_is_named(tmp_path, capsys, missing):
    words = ["export", missing, "-o", tmp_path / "m.regrow"]
    words += ["--example", "x.npy"] if ":" in missing else []
    assert run(*words) == 2
    assert "nosuch" in capsys.readouterr().err


def test_a_checkpoint_is_measured_on_the_validation_data_of_its_recipe(tmp_path, capsys):
    data = {
        "validation": "glyphs:val",
        "test": "glyphs:test",
        "args": {"classes": 6},
        "n_way": 3,
        "k_shot": 2,
    }
    ckpt = written(tmp_path / "c.safetensors", recipe={"data": data})
    few = ["--count", "3", "--queries", "2", "--force", "--json"]
    drawn = {"n_way": 3, "k_shot": 2, "queries": 2, "episodes": 3, "seed": 0}
    for words, source in ((few, "glyphs:val"), ([*few, "--episodes", "test"], "glyphs:test")):
        assert run("export", ckpt, "-o", tmp_path / "m.regrow", *words) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["accuracy"]["episodes"] == {"source": source, **drawn}
    assert regrow.open(tmp_path / "m.regrow").manifest.provenance["accuracy"] == printed["accuracy"]


def test_precision_and_set_are_chosen_and_their_tables_shown(tmp_path, capsys):
    ckpt, out = written(tmp_path / "c.safetensors"), tmp_path / "m.regrow"
    words = ["export", ckpt, "-o", out, "--count", "3", "--queries", "2", "--precision", "auto"]
    assert run(*words) == 0
    printed = capsys.readouterr()
    assert "precision: the smallest whose drop is at most 0.5 points" in printed.out
    assert "5-way 1-shot episodes of glyphs:val" in printed.out
    assert "packing" in printed.err
    assert run(*words, "--budget", "1kB", "--force") == 2
    refused = capsys.readouterr().err.splitlines()
    assert "none of" in refused[-1]
    assert any("@norm+bias" in line and line.endswith("1kB") for line in refused)


def test_inspect_shows_what_was_chosen_from(tmp_path, capsys):
    ckpt, out = written(tmp_path / "c.safetensors"), tmp_path / "m.regrow"
    assert run("export", ckpt, "-o", out, "--count", "2", "--queries", "2", "--precision", "auto") == 0
    capsys.readouterr()
    assert run("inspect", out) == 0
    text = capsys.readouterr().out
    assert "source  glyphs:val" in text
    assert '{"precision": "fp16"' in text


def test_a_module_is_measured_on_a_file_and_learns_by_the_loss_it_is_given(own_module, capsys):
    x = np.random.default_rng(1).integers(0, 255, (20, 28, 28), np.uint8)
    np.savez(own_module / "own.npz", x=x, y=np.repeat(np.arange(5), 4))
    np.save(own_module / "w.npy", np.array([1, 2, 1, 1, 1]))
    words = ["export", "mynet:build", "--example", own_module / "x.npy", "--force", "--json"]
    words += ["-o", own_module / "m.regrow", "--label-smoothing", "0.1", "--class-weights"]
    measured = ["--episodes", own_module / "own.npz", "--count", "2", "--queries", "2", "--k-shot", "2"]
    for weights in ("1,2,1,1,1", own_module / "w.npy"):
        assert run(*words, weights, *measured) == 0
        made = regrow.open(own_module / "m.regrow").manifest.provenance
        assert made["loss"]["args"] == {"label_smoothing": 0.1, "weight": [1.0, 2.0, 1.0, 1.0, 1.0]}
        assert json.loads(capsys.readouterr().out)["accuracy"]["episodes"]["source"] == "files:own.npz"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "3"], "--count without --episodes"),
        (["--precision", "auto"], "give some such as"),
        (["--precision", "fp8"], "expected one of fp32"),
        (["--class-weights", "1,two"], "expected a .npy file or numbers such as 1,2,1"),
        (["--class-weights", "nosuch.npy"], "nosuch.npy"),
        (["--label-smoothing", "2"], "label_smoothing"),
    ],
)
def test_options_of_a_module_that_cannot_be_followed_are_named(own_module, capsys, words, expected):
    assert (
        run("export", "mynet:build", "--example", own_module / "x.npy", "-o", own_module / "m", *words) == 2
    )
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_a_checkpoint_keeps_its_loss_and_must_name_its_data(tmp_path, capsys):
    ckpt = written(tmp_path / "c.safetensors", recipe={})
    for words, expected in (
        (["--label-smoothing", "0.1"], "was trained for"),
        (["--count", "3"], "validation"),
    ):
        assert run("export", ckpt, "-o", tmp_path / "m.regrow", *words) == 2
        assert expected in capsys.readouterr().err.splitlines()[-1]


def test_a_metric_head_takes_the_place_of_a_checkpoints_own(tmp_path, capsys):
    ckpt, out = written(tmp_path / "c.safetensors", adaptable=("blocks.*",)), tmp_path / "m.regrow"
    words = ["export", ckpt, "-o", out, "--onnx", tmp_path / "onnx", "--ways", 9]
    assert run(*words, "--rule", "prototype", "--rule-arg", "distance=cosine", "--rule-arg", "scale=10") == 0
    assert "onnx engine, fit" in capsys.readouterr().out
    model = regrow.open(out)
    assert (model.rule.kind, model.rule.args) == ("metric", {"distance": "cosine", "scale": 10})
    assert model.output.shape == (9,)
    assert {p.name for p in model.adaptable} == {"head.sums", "head.counts"}
    sparse = {p.name: p for p in model.manifest.parameters}["blocks.1.conv.weight"]
    assert (sparse.adaptable, sparse.kept) == ("none", 36)
    assert {p.name for p in (tmp_path / "onnx").iterdir()} == {"adapt.onnx", "predict.onnx", "manifest.json"}


def test_a_module_of_ones_own_gets_a_metric_head(own_module):
    out = own_module / "m.regrow"
    words = ["export", "mynet:build", "-o", out, "--example", own_module / "x.npy", "--rule", "prototype"]
    assert run(*words, "--head", "head") == 0
    assert regrow.open(out).output.shape == (5,)
    assert run(*words, "--head", "none", "--ways", 3, "--force") == 0
    sums = {p.name: p.shape for p in regrow.open(out).adaptable}
    assert sums["metric.sums"] == (3, 5)


def test_a_metric_head_is_measured_and_its_precision_chosen(tmp_path, capsys):
    ckpt, out = written(tmp_path / "c.safetensors"), tmp_path / "m.regrow"
    words = ["--rule", "prototype", "--precision", "auto", "--count", 8, "--queries", 3]
    assert run("export", ckpt, "-o", out, *words, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["accuracy"]["after"]["mean"] > printed["accuracy"]["before"]["mean"] == 0.2
    assert len(printed["choice"]["precision"]["rows"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "adam"), "goes with its own rule"),
        (("--rule-arg", "lr=0.3"), "goes with its own rule"),
        (("--rule", "prototype", "--rule-arg", "cosine"), "expected KEY=VALUE"),
        (("--rule", "prototype", "--rule-arg", "distance=far"), "distance 'far'"),
        (("--rule", "prototype", "--head", "blocks.0"), "blocks.0 does not end the network"),
        (("--ways", "9"), "describe a metric head"),
        (("--rule", "prototype", "--budget", "1MB"), "of a metric head nothing else does"),
    ],
)
def test_what_a_metric_head_cannot_be_is_one_line(tmp_path, capsys, words, said):
    ckpt = written(tmp_path / "c.safetensors")
    assert run("export", ckpt, "-o", tmp_path / "m.regrow", *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "m.regrow").exists()


def test_simplification_is_told_and_can_be_left_out(tmp_path, capsys):
    masks = {"blocks.0.conv.weight": np.arange(36).reshape(4, 1, 3, 3) >= 18}
    path = written(tmp_path / "m.ckpt", masks=masks, adaptable=("head.*",))
    ckpt = checkpoint.read(path)
    params = {n: np.array(p) for n, p in ckpt.params.items()}
    params["blocks.0.conv.weight"] *= masks["blocks.0.conv.weight"]
    # As captured, a norm makes noise of a constant that fp32 cannot take the mean of exactly.
    params["blocks.0.conv.bias"][:2] = 0
    written(path, masks=masks, adaptable=("head.*",), params=params)
    told = []
    for words in ([], ["--no-simplify"]):
        assert run("export", path, "-o", tmp_path / f"{len(words)}.regrow", "--json", *words) == 0
        told.append(json.loads(capsys.readouterr().out)["simplified"])
    # Both filters give a constant above zero to a layer with a border: one of them stays.
    assert told[0]["channels"] == {"removed": 1, "of": 13}
    assert told[1] is None
