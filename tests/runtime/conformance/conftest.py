"""A pack of the two hand-written bundles, whole in themselves: no torch and no exporter is needed."""

import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from regrow import bundle, cli
from regrow.cli.command import GROUP
from regrow.conformance import arrays, pack
from regrow.conformance.judge import outputs
from regrow.conformance.subjects import expect

WAYS, TOLERANCE = 4, 1e-5


def whole(graph: bytes, made: bundle.Bundle) -> bytes:
    """A graph of a bundle with the bundle's values in it, as `--onnx` writes them."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(graph)
    entries = {p.name: p for p in made.manifest.parameters}
    for tensor in model.graph.initializer:
        kind, _, name = tensor.name.partition(":")
        if kind in ("frozen", "meta", "mask"):
            sources: dict[str, Callable[[], Any]] = {
                "frozen": lambda name=name: made.params[name],
                "meta": lambda name=name: made.meta[name],
                "mask": lambda name=name: made.mask(entries[name]),
            }
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(sources[kind]()), tensor.name))
    defaults = {f"param:{n}": a for n, a in made.params.items()}
    defaults |= {f"state:{n}": a for n, a in made.state.items()}
    for item in model.graph.input:
        if item.name in defaults:
            model.graph.initializer.append(numpy_helper.from_array(defaults[item.name], item.name))
    return bytes(model.SerializeToString())


def names(graph: bytes) -> pack.Graph:
    import onnx

    model = onnx.load_from_string(graph)
    given = {t.name for t in model.graph.initializer}
    inputs = [i.name for i in model.graph.input]
    return pack.Graph(
        tuple(n for n in inputs if n not in given),
        tuple(n for n in inputs if n in given),
        tuple(o.name for o in model.graph.output),
    )


def add(folder: Path, name: str, path: Path) -> None:
    """Put the case of one bundle into a folder."""
    made = bundle.read(path)
    rng = np.random.default_rng(5)
    width = made.manifest.output.shape[0]
    y = np.arange(12, dtype=np.int64) % WAYS
    x = (rng.normal(size=(width, *made.manifest.input.shape))[y] + 0.3 * rng.normal(size=(12, 6))).astype(
        np.float32
    )
    support = {
        "x": x,
        "y": y,
        "active": np.arange(width) < WAYS,
        "steps": np.asarray(made.manifest.rule.steps),
    }
    statistics = {f"stat:{n}": a for n, a in made.statistics.items()}
    query = {"x": rng.normal(size=(7, *made.manifest.input.shape)).astype(np.float32), **statistics}
    expected = expect(made, support, query)
    graphs = {n: whole(made.graph(n), made) for n in ("adapt", "predict")}
    facts = pack.Facts(
        name=name,
        says="a bundle written by hand",
        rule=made.manifest.rule.name,
        steps=made.manifest.rule.steps,
        seed=5,
        ops=("linear",),
        adapt=names(graphs["adapt"]),
        predict=names(graphs["predict"]),
        tolerances=dict.fromkeys(outputs(expected), TOLERANCE),
    )
    files = {pack.MODEL: path.read_bytes(), pack.ADAPT: graphs["adapt"], pack.PREDICT: graphs["predict"]}
    files |= {pack.SUPPORT: arrays.pack(support), pack.QUERY: arrays.pack(query)}
    pack.write_case(folder, facts, files | {pack.EXPECTED: arrays.pack(expected)})


@pytest.fixture(scope="session")
def original(tiny: ModuleType, metric_bundle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack; tests must not write to it."""
    folder = tmp_path_factory.mktemp("pack")
    tiny.write(folder / "linear.tmp")
    metric_bundle.write(folder / "metric.tmp")
    for name in ("linear", "metric"):
        add(folder, name, folder / f"{name}.tmp")
    pack.write_index(folder, ["linear", "metric"], {"regrow": "0"})
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A pack of one's own."""
    return Path(shutil.copytree(original, tmp_path / "pack"))


@pytest.fixture
def conformance(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """`regrow conformance ...`, also where regrow was installed before it had the command."""
    point = EntryPoint("conformance", "regrow.cli.conformance:COMMAND", GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    return lambda *words: run("conformance", *words)
