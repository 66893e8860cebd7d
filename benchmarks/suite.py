"""Adaptation by every peer, side by side: `python -m benchmarks.suite OUT.json --suite short|readme|full`.

For each case all peers are started, checked against torch in fp64, and then take turns; a round gives one
adaptation, one step and two predictions of each. What is slow has fewer turns. Ratios are of pairs from the
same round. A run that was interrupted is taken up where it was: cases that OUT.json already holds are not
measured again, as long as the code that measures is the same, whatever the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ceilings
from benchmarks.figures import noise
from benchmarks.origin import differing, sources
from benchmarks.peers import MAIN, PEERS
from benchmarks.setup_peers import packages, python
from benchmarks.turns import TOLERANCE, make_all, run_case
from benchmarks.workloads import cases
from regrow.bench import machine
from regrow.files import atomic_write


def run(settings: argparse.Namespace) -> dict[str, Any]:
    """Every case of the suite that the output does not hold yet; written after each."""
    out, code = Path(settings.output), sources()
    # Files that other code made are never measured.
    home = Path(settings.work) / f"{code}-{settings.threads}"
    home.mkdir(parents=True, exist_ok=True)
    made = _resumed(out, settings, code)
    held = {case["name"] for case in made["cases"]}
    asked = [work for work in cases(settings.suite) if not settings.case or work.name in settings.case]
    wanted = [work for work in asked if work.name not in held]
    make_all(wanted, home, settings)
    for i, work in enumerate(wanted):
        began = time.monotonic()
        print(f"suite: {work.name}, case {i + 1} of {len(wanted)}", file=sys.stderr, flush=True)
        found = run_case(work, home, settings)
        found |= {"noise": noise(found, settings.threads), "commit": machine.describe()["commit"]}
        found |= {"sources": code, "seconds": round(time.monotonic() - began)}
        made["cases"].append(found)
        _write(out, made)
        left = (time.monotonic() - began) * (len(wanted) - i - 1)
        print(f"suite: {_told(found)}; about {left / 60:.0f} min left", file=sys.stderr, flush=True)
    made["cases"].sort(key=lambda case: [work.name for work in cases(settings.suite)].index(case["name"]))
    made["ceilings"] = ceilings.measure(settings.threads)
    made["machine"]["load_after"] = machine.load()
    _write(out, made)
    return made


def _write(out: Path, made: dict[str, Any]) -> None:
    atomic_write(out, (json.dumps(made, indent=1) + "\n").encode())


def _resumed(out: Path, settings: argparse.Namespace, code: str) -> dict[str, Any]:
    if out.exists():
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        other = (found.get("suite"), found.get("threads")) != (settings.suite, settings.threads)
        if other:
            raise SystemExit(
                f"suite: {out}: holds suite {found.get('suite')} on {found.get('threads')} threads, expected "
                f"{settings.suite} on {settings.threads}; name another file, or remove it"
            )
        if (stale := differing(found, code)) and not settings.mixed:
            raise SystemExit(
                f"suite: {out}: {', '.join(stale)}: measured by other code than is here; remove the file, or "
                "--mixed keeps them and the page says so"
            )
        if settings.command not in found["command"].split("; then "):
            found["command"] += f"; then {settings.command}"
        return found
    environments = {e.environment for e in PEERS if e.environment != MAIN and python(e.environment)}
    return {
        "format": 2,
        "suite": settings.suite,
        "command": settings.command,
        "threads": settings.threads,
        "rounds": settings.rounds,
        "tolerance": TOLERANCE,
        "machine": machine.describe(),
        "environments": {name: packages(name) for name in sorted(environments)},
        "cases": [],
    }


def _told(found: dict[str, Any]) -> str:
    said = []
    for name, fact in found["peers"].items():
        figure = f"{fact['adapt_ms_cpu']['median']:.3g} ms" if "adapt_ms_cpu" in fact else fact["status"]
        said.append(f"{name} {figure}")
    return ", ".join(said)


def _threads(word: str) -> int:
    return len(os.sched_getaffinity(0)) if word == "all" else int(word)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", help="where the JSON goes; cases it holds are kept")
    parser.add_argument("--suite", choices=("short", "readme", "full"), default="short")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each peer (default: 9)")
    parser.add_argument("--cold", type=int, default=3, help="cold starts of each peer (default: 3)")
    parser.add_argument("--threads", type=_threads, default=1, help="of each peer, or all (default: 1)")
    parser.add_argument("--patience", type=float, default=20.0, metavar="S",
                        help="a peer that is slower than this to its first prediction is not timed "
                        "(default: 20)")  # fmt: skip
    parser.add_argument("--mixed", action="store_true", help="go on from cases that other code measured")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="these cases of the suite only")
    parser.add_argument("--only", nargs="+", metavar="PEER", help="these peers only")
    parser.add_argument("--work", default="build/suite", help="where cases and files of peers are kept")
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    known = {work.name for work in cases(args.suite)}
    if unknown := sorted(set(args.case or ()) - known):
        parser.error(f"--suite {args.suite} has no case {', '.join(unknown)}; expected of {', '.join(known)}")
    args.command = shlex.join(["python", "-m", "benchmarks.suite", *words])
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
