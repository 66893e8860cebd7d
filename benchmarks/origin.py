"""What a figure was measured with: a digest of the code that has a part in it, and whether a result that was
begun with other code may be gone on with.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from benchmarks.setup_peers import ROOT

# Of the runtime, what no adaptation passes through; of the benchmarks, what only shows or measures other
# things. Everything else counts, so that a doubtful change counts as one.
_APART = ("serve", "datasets", "demo", "cli", "conformance", "bench/plot.py", "bench/compare.py")
MEASURING = (
    "allocations",
    "case",
    "ceilings",
    "energy",
    "figures",
    "prepare",
    "setup_peers",
    "suite",
    "turns",
    "workloads",
)


def sources(root: Path = ROOT) -> str:
    """The same wherever the code that measures is the same, whatever the commit."""
    runtime = root / "runtime" / "regrow"
    files = [p for p in runtime.rglob("*.py") if not p.relative_to(runtime).as_posix().startswith(_APART)]
    native = root / "runtime" / "native"
    files += [p for p in native.rglob("*") if p.suffix in (".c", ".h") or p.name == "build.py"]
    files += (root / "exporter" / "regrow_exporter").rglob("*.py")
    files += (root / "benchmarks" / "peers").glob("*.py")
    files += [root / "benchmarks" / f"{name}.py" for name in MEASURING]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def differing(made: dict[str, Any], now: str) -> list[str]:
    """The cases of a result that other code measured."""
    return [case["name"] for case in made["cases"] if case.get("sources", "unknown") != now]


def told(made: dict[str, Any]) -> str:
    """The commits of a result, and which cases are of which where there are several."""
    names: dict[str, list[str]] = {}
    for case in made["cases"]:
        names.setdefault(case.get("commit") or made["machine"]["commit"] or "none", []).append(case["name"])
    if len(names) < 2:
        return f"Commit {next(iter(names), made['machine']['commit'] or 'none')}"
    same = len({case.get("sources") for case in made["cases"]}) == 1
    what = "the code that measures is the same in all" if same else "with different code"
    return f"Commits {'; '.join(f'{c}: {chr(44).join(n)}' for c, n in names.items())} ({what})"
