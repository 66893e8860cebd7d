"""What the runtime tests share: a linear model whose graphs were written by hand, and samples for it."""

import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow import engines
from regrow.cli import main


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module that writes the linear bundle; skips where its graphs can be neither made nor run."""
    return _written_by_hand("tiny")


@pytest.fixture(scope="session")
def metric_bundle() -> ModuleType:
    """The module that writes the bundle with a metric head; skips as `tiny` does."""
    return _written_by_hand("tiny_metric")


def _written_by_hand(name: str) -> ModuleType:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = Path(__file__).with_name(f"{name}.py")
    spec = util.spec_from_file_location(f"regrow_tests_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["native", "onnx"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine in turn; skips where it is not present."""
    name = str(request.param)
    if name not in engines.available():
        pytest.skip(f"the {name} engine is not here: {engines.ENGINES[name].remedy}")
    return name


@pytest.fixture
def make(tiny: ModuleType, tmp_path: Path, engine: str) -> Callable[..., regrow.Model]:
    """Write and open a linear bundle; keywords of `tiny.write`, and `opening` for `regrow.open`."""

    def write_and_open(name: str = "tiny", opening: dict[str, Any] | None = None, **how: Any) -> regrow.Model:
        path = tmp_path / f"{name}.regrow"
        tiny.write(path, **how)
        return regrow.open(path, **({"engine": engine} | (opening or {})))

    return write_and_open


@pytest.fixture
def model(make: Callable[..., regrow.Model]) -> regrow.Model:
    return make()


def look(session: regrow.Session) -> tuple[Any, ...]:
    """Everything that must not change when a call is refused."""
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    prediction = session.predict(x)
    return (
        {name: array.tobytes() for name, array in session.parameters.items()},
        session.counts,
        session.adaptations,
        prediction.logits.tobytes(),
        prediction.labels.tolist() if prediction.labels is not None else None,
    )


@pytest.fixture(scope="session")
def looks() -> Callable[[regrow.Session], tuple[Any, ...]]:
    return look


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command line in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call
