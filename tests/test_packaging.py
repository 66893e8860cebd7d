"""The wheel a user installs: built without a network, three typed packages, numpy as its only requirement."""

import email
import email.message
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    # The backend itself, not pip: pip would fetch a build environment from the network.
    return hatchling("wheel", folder)


def hatchling(kind: str, folder: Path, source: Path = ROOT, **variables: str) -> Path:
    """The one archive that is built; `variables` are added to the environment."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    env = {**os.environ, **variables}
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (p for p in folder.iterdir() if p.suffix in (".whl", ".gz"))
    return built


def read_metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_three_typed_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packages = {"regrow", "regrow_exporter", "regrow_trainer"}
    assert {f"{p}/py.typed" for p in packages} <= set(names)
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == packages
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_wheel_brings_the_core_where_there_is_a_compiler(wheel: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        assert wheel.name.endswith("-py3-none-any.whl")
        pytest.skip("no C compiler here: the wheel is pure")
    assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read("regrow/_core.so")
    assert data.startswith(b"\x7fELF")
    assert all(name in data for name in (b"regrow_run", b"regrow_arena_bytes"))


def test_without_a_compiler_the_wheel_is_pure_and_runs_on_onnxruntime(tmp_path: Path) -> None:
    for package in ("hatchling", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    from tests.runtime import tiny

    built = hatchling("wheel", tmp_path, CC="there-is-no-such-compiler")
    assert built.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built) as archive:
        assert not [n for n in archive.namelist() if n.endswith(".so")]
        archive.extractall(tmp_path / "site")
    tiny.write(tmp_path / "m.regrow")
    x, y = tiny.support()
    np.savez(tmp_path / "s.npz", x=x, y=y)
    code = (
        "import sys, numpy, regrow; assert regrow.__file__.startswith(sys.argv[1]), regrow.__file__; "
        "model, s = regrow.open(sys.argv[2]), numpy.load(sys.argv[3]); "
        "losses = model.session().adapt(s['x'], s['y'], steps=3).losses; "
        "print(model.engine.name, losses[-1] < losses[0])"
    )
    words = [str(tmp_path / "site"), str(tmp_path / "m.regrow"), str(tmp_path / "s.npz")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": words[0]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["onnx", "True"], done.stderr


@pytest.mark.slow
def test_an_sdist_is_built_with_the_compiler_that_is_there(wheel: Path, tmp_path: Path) -> None:
    if wheel.name.endswith("-any.whl"):
        pytest.skip("no C compiler here")
    with tarfile.open(hatchling("sdist", tmp_path / "sdist")) as archive:
        assert not [n for n in archive.getnames() if n.endswith(".so")]
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = hatchling("wheel", tmp_path / "wheel", source)
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(wheel) as other:
        assert set(one.namelist()) == set(other.namelist())
        assert one.read("regrow/_core.so") == other.read("regrow/_core.so")


def test_every_source_file_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("runtime", "exporter", "trainer"):
        own = {str(p.relative_to(ROOT / folder)) for p in (ROOT / folder).glob("regrow*/**/*.py")}
        assert own <= names, sorted(own - names)


def test_the_sources_that_c_is_made_of_are_in_the_wheel(wheel: Path) -> None:
    home, native = "regrow_exporter/c_writer/", ROOT / "runtime" / "native"
    own = {f"{home}core/{p.relative_to(native)}" for p in native.rglob("*.[ch]")}
    files = ROOT / "exporter" / home
    own |= {f"{home}{p.relative_to(files)}" for f in ("files", "templates") for p in (files / f).rglob("*.*")}
    assert {f"{home}core/ops/conv.c", f"{home}files/targets/startup.c", f"{home}templates/model.c"} <= own
    with zipfile.ZipFile(wheel) as archive:
        assert own <= set(archive.namelist())


def test_the_page_of_the_service_is_in_the_wheel(wheel: Path) -> None:
    own = {f"regrow/serve/static/{p.name}" for p in (ROOT / "runtime/regrow/serve/static").iterdir()}
    assert "regrow/serve/static/index.html" in own
    with zipfile.ZipFile(wheel) as archive:
        assert own <= set(archive.namelist())


def test_the_recipes_travel_with_the_trainer(wheel: Path) -> None:
    own = {f"regrow_trainer/recipes/{p.name}" for p in (ROOT / "recipes").glob("*.toml")}
    assert own
    with zipfile.ZipFile(wheel) as archive:
        assert own <= set(archive.namelist())


def test_numpy_is_the_only_thing_a_device_must_install(wheel: Path) -> None:
    requirements = read_metadata(wheel).get_all("Requires-Dist") or []
    unconditional = [r for r in requirements if "extra ==" not in r]
    assert [re.split(r"[^\w-]", r)[0] for r in unconditional] == ["numpy"]


def test_the_wheel_stays_small(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "runtime" / "native")
    budget = importlib.import_module("wheels").WHEEL_BYTES
    assert wheel.stat().st_size <= budget, f"{wheel.stat().st_size} bytes, budget {budget}"


def test_the_version_is_written_once() -> None:
    version = str(project()["version"])
    assert metadata.version("regrow") == version
    literal = re.compile(rf"[\"']{re.escape(version)}[\"']")
    files = [p for f in ("runtime", "exporter", "trainer") for p in (ROOT / f).rglob("*.py")]
    assert [str(p) for p in files if literal.search(p.read_text(encoding="utf-8"))] == []


def test_every_requirement_has_an_exact_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+", p)] == []
    table = project()
    wanted = list(table["dependencies"])
    for extra in table["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[^\w-]", r)[0].lower() for r in wanted}
    assert names <= {p.split("==")[0] for p in pins}


def test_every_command_of_the_package_loads() -> None:
    points = metadata.entry_points(group="regrow.commands")
    assert {"demo", "inspect", "adapt", "predict", "bench", "data"} <= {p.name for p in points}
    assert [p.name for p in points if p.load().name != p.name] == []
