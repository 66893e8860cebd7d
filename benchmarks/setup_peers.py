"""One environment per peer of the benchmark, from pinned versions: `python -m benchmarks.setup_peers [NAME
...]`.

Environments lie in `.venv-peers/` of the checkout, or where REGROW_PEERS says. One that is complete is
reused; one that cannot be made is reported, and its peers with it, while the others go on. All together take
about 9 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
# A dependency that is not pinned here is taken from the constraints of the project, or from the day of the
# install; what was installed is written into every result.
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "torch": (TORCH, "numpy==2.4.6", "higher==0.2.1"),
    "jax": ("jax==0.10.2", "numpy==2.4.6"),
    "mnn": ("MNN==3.6.1", "numpy==2.4.6"),
    "litert": ("ai-edge-litert==2.3.0", "numpy==2.4.6"),
    "tensorflow": ("tensorflow-cpu==2.21.0",),
    "ort-training": ("onnxruntime-training==1.19.2", "onnx==1.16.2", "numpy==1.26.4"),
    "onnxruntime": ("onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6"),
    "onnxsim": (TORCH, "onnxsim==0.8.1", "onnxscript==0.7.2", "onnxruntime==1.31.1", "numpy==2.4.6"),
    "executorch": ("executorch==1.5.1", TORCH, "numpy==2.4.6"),
}
# Built from its source, which wants the old build tool without saying so.
_NEEDS_SETUPTOOLS = ("torch",)
_STAMP = "installed.json"


def home() -> Path:
    """Where the environments lie."""
    return Path(os.environ.get("REGROW_PEERS") or ROOT / ".venv-peers")


def python(name: str) -> Path | None:
    """The interpreter of a complete environment; None where there is none."""
    folder = home() / name
    return folder / "bin" / "python" if (folder / _STAMP).exists() else None


def packages(name: str) -> dict[str, str]:
    """What a complete environment holds, by version."""
    found: dict[str, str] = json.loads((home() / name / _STAMP).read_text(encoding="utf-8"))["versions"]
    return found


def installed_bytes(name: str) -> int:
    """What its packages take on disk, pip and setuptools apart."""
    return int(json.loads((home() / name / _STAMP).read_text(encoding="utf-8"))["bytes"])


def own_bytes(names: Sequence[str]) -> int:
    """What regrow takes on a device: its own package, without caches, and the packages that it needs."""
    own = (p for p in (ROOT / "runtime" / "regrow").rglob("*") if p.is_file() and p.suffix != ".pyc")
    files = [Path(str(file.locate())) for name in names for file in distribution(name).files or ()]
    return sum(path.stat().st_size for path in [*own, *files] if path.exists())


def make(name: str, index: str | None) -> str:
    """Create or complete an environment; what came of it, in words."""
    folder = home() / name
    stamp = folder / _STAMP
    if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8"))["wanted"] == list(ENVIRONMENTS[name]):
        return "reused"
    stamp.unlink(missing_ok=True)
    venv.create(folder, with_pip=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    if index:
        pip += ["--extra-index-url", index]
    if name in _NEEDS_SETUPTOOLS:
        subprocess.run([*pip, "setuptools", "wheel"], check=True)
        pip.append("--no-build-isolation")
    done = subprocess.run([*pip, *ENVIRONMENTS[name]], capture_output=True, text=True, check=False)
    if done.returncode:
        return (
            f"failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'pip said nothing'}"
        )
    (site,) = folder.glob("lib/python*/site-packages")
    kept = [d for d in distributions(path=[str(site)]) if d.name not in ("pip", "setuptools", "wheel")]
    sizes = (Path(str(file.locate())) for d in kept for file in d.files or ())
    taken = sum(path.stat().st_size for path in sizes if path.exists())
    facts = {
        "wanted": list(ENVIRONMENTS[name]),
        "versions": {d.name: d.version for d in sorted(kept, key=lambda d: d.name)},
        "bytes": taken,
    }
    stamp.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return f"installed, {taken / 1e6:.0f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Make what was asked for; the exit code counts those that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.setup_peers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(ENVIRONMENTS)} (default: all)"
    )
    parser.add_argument(
        "--index", help="a further package index, such as PyTorch's public one for CPU builds"
    )
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in ENVIRONMENTS]
    if unknown:
        parser.error(f"no environment {', '.join(unknown)}; expected of {', '.join(ENVIRONMENTS)}")
    failed = 0
    for name in args.names or ENVIRONMENTS:
        print(f"{name}: ", end="", flush=True)
        said = make(name, args.index)
        failed += said.startswith("failed")
        print(said, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
