"""What an import costs: nothing until something is used, and torch never."""

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import regrow
from regrow import engines


def modules_after(code: str) -> set[str]:
    """Which of the heavy modules are loaded once `code` ran in a fresh interpreter."""
    heavy = "{'numpy', 'torch', 'onnxruntime', 'onnx', 'matplotlib', 'PIL', 'psutil'}"
    script = f"import sys\n{code}\nprint(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import regrow; regrow.RegrowError; regrow.__version__; dir(regrow)",
        "from regrow.cli import main; main(['--version'])",
        "from regrow.progress import Progress; Progress(3, 'x')",
        "import regrow.cli.adapt, regrow.cli.predict, regrow.cli.inspect, regrow.cli.bench",
    ],
)
def test_nothing_heavy_before_it_is_needed(code: str) -> None:
    assert modules_after(code) == set()


def test_numpy_arrives_with_the_model_and_no_engine_before_it_is_picked() -> None:
    assert modules_after("import regrow; regrow.open; regrow.Session") == {"numpy"}


@pytest.mark.parametrize(("name", "needs"), [("native", set()), ("onnx", {"onnxruntime"})])
def test_a_whole_session_needs_numpy_and_its_engine_only(
    name: str, needs: set[str], tiny: ModuleType, tmp_path: Any
) -> None:
    if name not in engines.available():
        pytest.skip(f"the {name} engine is not here: {engines.ENGINES[name].remedy}")
    tiny.write(tmp_path / "m.regrow")
    code = (
        "import regrow, numpy as np\n"
        f"s = regrow.open({str(tmp_path / 'm.regrow')!r}, engine={name!r}).session()\n"
        "s.adapt(np.eye(6, dtype=np.float32)[:2], [0, 1])\n"
        f"s.predict(np.eye(6, dtype=np.float32)); s.save({str(tmp_path / 'a.delta')!r})"
    )
    assert modules_after(code) == {"numpy"} | needs


def test_the_package_shows_what_it_has() -> None:
    assert {"open", "Session", "AdaptError", "__version__"} <= set(dir(regrow))
    for name in regrow.__all__:
        assert getattr(regrow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = regrow.train
