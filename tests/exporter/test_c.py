"""The C folder on this machine: builds without a warning, learns what the native engine does, to the bit."""

import ctypes
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow.engines import core
from regrow.engines.native import SPARSE_BELOW
from regrow.errors import UnsupportedError
from regrow_exporter.c_writer import folder, write_c
from regrow_exporter.c_writer.bound import default_samples
from tests.exporter.c_make import dumped, make, tool
from tests.exporter.c_models import MODELS, write_bundle

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

# Between them: packed and whole weights, state, no statistics, no labels, a fit.
QUICK = ("sparse", "adam", "sine", "prototype", "head")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each model's bundle and C folder, made when first asked for."""
    made = {}

    def of(name):
        if name not in made:
            tool("cc")
            path = tmp_path_factory.mktemp(name)
            opened = write_bundle(name, path / "m.regrow")
            made[name] = opened, folder.write_folder(opened, path / "c"), path / "c"
        return made[name]

    return of


def as_changing(bound, adapted):
    """An engine's result as the C keeps it: of packed weights the kept positions."""
    given = dict(adapted.params)
    given |= {f"state:{name}": array for name, array in adapted.state.items()}
    given |= {f"stat:{name}": array for name, array in adapted.statistics.items()}
    kept = bound.bundle.kept
    made = {}
    for name, base in bound.changing.items():
        flat = np.asarray(given[name]).reshape(-1)
        weight = name.removeprefix("state:")
        if flat.size != base.size:
            owner = next(w for w in kept if weight == w or weight.endswith(w))
            flat = flat[np.flatnonzero(kept[owner])]
        made[name] = flat
    return made


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(MODELS)]
)
def test_it_learns_what_the_engine_learns(name, written, monkeypatch):
    _, bound, path = written(name)
    found = dumped(make(path), bound)
    library = core.library()
    monkeypatch.setattr(library, "regrow_width", lambda: 0)
    adapted, _ = folder.reference(bound, "native")
    expected = as_changing(bound, adapted)
    assert any((expected[n] != bound.changing[n]).any() for n in expected), "nothing was learned"
    different = [n for n in expected if found[n].tobytes() != expected[n].tobytes()]
    assert not different


def test_pruned_weights_take_no_room(written):
    _, bound, _ = written("sparse")
    packed = {n: m for n, m in bound.bundle.kept.items() if m.mean() <= SPARSE_BELOW}
    assert len(packed) >= 2
    for name, kept in packed.items():
        assert bound.changing[name].size == np.count_nonzero(kept) < kept.size


def test_only_what_a_model_runs_is_built(written):
    _, _, path = written("head")
    make(path, "all", dump=False)
    symbols = subprocess.run(
        [tool("nm"), path / "build/host/regrow/core.o"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"\bop_(conv|chain)\b", symbols)
    assert not re.search(r"op_(conv_dw|block_back|chain_back|argsort|bce)\b", symbols)
    assert not re.search(r"\bU (tanhf|erff|powf|expm1f)\b", symbols)


def library_of(path, tmp_path):
    """model.c and the core as a library for ctypes."""
    sources = [path / f for f in ("model.c", "regrow/core.c", "regrow/regrow.c", "regrow/slots.c")]
    flags = ["-std=gnu99", "-O1", "-shared", "-fPIC", f"-I{path}", "-DREGROW_CORE=regrow_core_baseline"]
    command = [tool("cc"), *flags, '-DREGROW_USES="../model_ops.h"', *map(str, sources), "-lm", "-o"]
    subprocess.run([*command, str(tmp_path / "m.so")], check=True)
    made = ctypes.CDLL(str(tmp_path / "m.so"))
    made.model_values.restype = ctypes.c_void_p
    return made


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


OK, E_NULL, E_INDEX, E_COUNT, E_LOSS = 0, 1, 8, 9, 10


def test_a_refusal_leaves_the_model_as_it_was(written, tmp_path):
    _, bound, path = written("sparse")
    model = library_of(path, tmp_path)
    size = bound.offsets[""]
    values = lambda: ctypes.string_at(model.model_values(), size)  # noqa: E731
    base = values()
    x, labels, _ = folder.episode(bound)
    y, losses = labels.astype(np.int32), np.zeros(101, np.float32)
    adapt = lambda x, y, outputs=5, steps=5: model.model_adapt(  # noqa: E731
        pointer(x), pointer(y), outputs, steps, pointer(losses)
    )
    assert adapt(x, y) == OK
    learned = values()
    assert learned != base
    for refused in (
        adapt(x, y, outputs=0),
        adapt(x, y, outputs=6),
        adapt(x, y, steps=0),
        model.model_adapt(None, pointer(y), 5, 5, pointer(losses)),
    ):
        assert refused in (E_COUNT, E_NULL)
        assert values() == learned
    assert adapt(x, y + 1) == E_INDEX
    assert adapt(x, y - 1) == E_INDEX
    assert adapt(x * np.float32(np.nan), y) == E_LOSS
    assert adapt(x * np.float32(1e30), y) == E_LOSS
    assert values() == learned
    model.model_reset()
    assert values() == base
    # And what it learns next is what it learned first.
    assert adapt(x, y) == OK
    assert values() == learned


def test_a_bundle_becomes_c_by_the_command_without_torch(written, tmp_path):
    opened, bound, path = written("head")
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "from regrow_exporter.cli import COMMAND\n"
        "import argparse\n"
        "parser = argparse.ArgumentParser()\n"
        "COMMAND.configure(parser)\n"
        "raise SystemExit(COMMAND.run(parser.parse_args(sys.argv[1:])))\n"
    )
    command = [sys.executable, "-c", code, opened.path, "--c", str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"from {bound.samples} samples in {bound.arena_bytes} bytes" in done.stdout
    for made in (
        "model.c",
        "model.h",
        "model_ops.h",
        "regrow/core.c",
        "regrow/ops/conv.c",
        "targets/startup.c",
    ):
        assert (tmp_path / "c" / made).read_bytes() == (path / made).read_bytes(), made
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "exists already" in again.stderr


def test_the_number_of_samples_is_the_episodes(written, tmp_path):
    from dataclasses import replace

    opened, _, _ = written("head")
    recipe = {"recipe": {"data": {"n_way": 3, "k_shot": 4}}}
    manifest = replace(opened.manifest, provenance={**opened.manifest.provenance, **recipe})
    assert default_samples(replace(opened, manifest=manifest)) == 12
    assert default_samples(opened) == 5
    made = write_c(opened.path, tmp_path / "c", samples=7)
    assert made.samples == 7
    assert "#define MODEL_SAMPLES      7u" in (tmp_path / "c/model.h").read_text()
    make(tmp_path / "c")
    with pytest.raises(UnsupportedError, match="0 samples, expected at least 1"):
        write_c(opened.path, tmp_path / "d", samples=0)
