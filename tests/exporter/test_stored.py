"""Frozen weights stay in a bundle's fp16 or int8: fewer bytes, the same bits."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from regrow import selftest
from regrow.engines import core
from regrow.engines.native import NativeEngine
from regrow_exporter import export
from regrow_exporter.c_writer import folder
from tests.exporter.c_make import dumped, make, tool
from tests.exporter.c_models import masked
from tests.exporter.networks import network

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

CASES = [("int8", 1.0), ("int8", 0.15), ("fp16", 1.0), ("fp16", 0.15)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A network with a frozen trunk, by how its weights are stored and how many are kept."""
    made = {}

    def of(precision, density):
        if (precision, density) not in made:
            module, shape, _ = network("conv4")
            masks = masked(module, density)
            path = tmp_path_factory.mktemp("stored") / "m.regrow"
            torch.manual_seed(4)
            options = {"adaptable": ["head.*"], "lr": 0.1, "precision": precision, "masks": masks or None}
            export(module, torch.rand(6, *shape), path=path, **options)
            made[precision, density] = path
        return made[precision, density]

    return of


def learned(engine, bundle):
    test, made = bundle.manifest.selftest, bundle.manifest
    x, y = selftest.episode(test.seed, 5, 5, made.input.shape)
    params = {p.name: bundle.params[p.name] for p in made.parameters if p.adaptable != "none"}
    active = np.ones(made.output.shape, np.bool_)
    adapted = engine.adapt(x, y, active, params, bundle.state, 5)
    return [*adapted.params.values(), adapted.losses, engine.predict(x, adapted.params, adapted.statistics)]


@pytest.mark.parametrize(("precision", "density"), CASES)
def test_a_small_plan_reads_what_is_stored_and_learns_the_same_bits(precision, density, written, monkeypatch):
    model = regrow.open(written(precision, density), engine="native", plan="small")
    engine, bundle = model.engine, model.bundle
    stored = {n for n in engine._made("adapt", 5).blocks if n.startswith("stored:")}
    frozen = {p.name for p in bundle.manifest.parameters if p.adaptable == "none" and len(p.shape) > 1}
    # Of the first layer's 36 weights too many are left for lists.
    assert set(engine.widened) <= ({"blocks.0.conv.weight"} if density < 1 else set())
    assert stored == {f"stored:{name}" for name in frozen - set(engine.widened)}
    assert engine.frozen_bytes < 0.6 * NativeEngine(bundle, plan="fast").frozen_bytes
    wide = NativeEngine(bundle, plan="small")
    monkeypatch.setattr(wide, "_stored", {})
    assert not any(n.startswith("stored:") for n in wide._made("adapt", 5).blocks)
    library = core.library()
    for width in range(library.regrow_width() + 1):
        with monkeypatch.context() as patched:
            patched.setattr(library, "regrow_run", lambda *a, w=width: library.regrow_run_width(w, *a))
            found, expected = learned(engine, bundle), learned(wide, bundle)
        for a, b in zip(found, expected, strict=True):
            assert a.tobytes() == b.tobytes(), width


@pytest.mark.parametrize(("precision", "density"), [CASES[1], CASES[2]])
def test_c_keeps_them_in_flash_as_they_are(precision, density, written, tmp_path):
    tool("cc")
    bundle = regrow.open(written(precision, density)).bundle
    bound = folder.write_folder(bundle, tmp_path / "c")
    text = (tmp_path / "c/model.c").read_text()
    assert f"const {'int8_t' if precision == 'int8' else 'uint16_t'} " in text
    assert {n.split(":")[0] for _, n in bound.fixed} >= {"stored"}
    assert dumped(make(tmp_path / "c"), bound)


def test_what_cannot_stay_so_is_widened(tmp_path):
    """Positions that the bundle left out, but too few of them for lists."""
    module, shape, _ = network("conv4")
    masks = masked(module, 0.6)
    path = tmp_path / "m.regrow"
    export(module, torch.rand(6, *shape), path=path, adaptable=["head.*"], precision="int8", masks=masks)
    model = regrow.open(path, engine="native", plan="small")
    assert not any(n.startswith("stored:") for n in model.engine._made("adapt", 5).blocks)
    assert model.engine.widened == tuple(sorted(masks))
