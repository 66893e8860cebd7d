"""Adaptation by every peer, side by side: `python -m benchmarks.suite OUT.json --suite short|readme|full`.

For each case all peers are started, checked against torch in fp64, and then take turns; a round gives one
adaptation, one step and two predictions of each. What is slow has fewer turns. Ratios are of pairs from the
same round. A run that was interrupted is taken up where it was: cases that OUT.json already holds are not
measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ceilings
from benchmarks.case import Case
from benchmarks.figures import Taken, all_ratios, figures, noise
from benchmarks.peers import MAIN, PEERS, Entry
from benchmarks.prepare import error, read_expected, write
from benchmarks.setup_peers import ROOT, installed_bytes, own_bytes, packages, python
from benchmarks.workloads import QUERIES, STEPS, Work, cases, flops, prepared
from regrow.bench import machine
from regrow.bench.peers import ONE_THREAD, Child, RefusedError
from regrow.bench.stats import spread
from regrow.files import atomic_write

# Relative to the largest output after five steps; fp32 alone loses about 1e-6, a wrong gradient far more.
TOLERANCE = 1e-2
WARM_UP = 2
# What a peer may take of one round, in seconds; a slower one has its turn in every second, third, ... round.
SHARE, FEWEST = 1.0, 3
_QUESTIONS = {
    "adapt_ms": ("adapt", STEPS),
    "step_ms": ("adapt", 1),
    "predict_1_ms": ("predict", 1),
    f"predict_{QUERIES}_ms": ("predict", QUERIES),
}


@dataclass
class _Turn:
    """A running peer and how often it is asked."""

    child: Child
    every: int
    taken: Taken


def environment(threads: int, home: Path) -> dict[str, str]:
    """What each child sees: the checkout's own code, and how many threads it may use."""
    paths = [ROOT, ROOT / "runtime"]
    limits = dict(ONE_THREAD) if threads == 1 else {}
    made = {"PYTHONPATH": ":".join(map(str, paths)), "REGROW_BENCH_THREADS": str(threads)}
    return {**limits, **made, "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}


def run_case(work: Work, home: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """One case, every peer."""
    case, what = write(work, home), prepared(work)
    forward = flops(what.layers, what.shape)
    found: dict[str, Any] = {
        "name": work.name,
        "workload": work.workload,
        "title": what.title,
        "pruning": work.pruning,
        "adaptable": work.chosen,
        "parameters": sum(array.size for array in case.weights.values()),
        "forward_flops": forward,
        "steps": STEPS,
        "support": what.support,
        "torch_error": read_expected(case.folder).torch_error,
        "peers": {},
    }
    chosen = [e for e in PEERS if not settings.only or e.name in settings.only]
    with ExitStack() as stack:
        turns: dict[str, _Turn] = {}
        for entry in chosen:
            fact, turn = _begin(entry, work, home, settings, stack)
            found["peers"][entry.name] = fact
            if turn:
                turns[entry.name] = turn
        loads = [_rounds(turns, settings.rounds)]
        for name, turn in turns.items():
            found["peers"][name] |= figures(turn.taken)
            found["peers"][name]["warm_peak_bytes"] = turn.child.ask("memory")["peak_bytes"]
        found["ratios"] = all_ratios({name: turn.taken for name, turn in turns.items()})
    for name in turns:
        entry = next(e for e in PEERS if e.name == name)
        found["peers"][name] |= _cold(entry, _folder(entry, work, home), settings, home)
    found["load"] = loads
    return found


def _folder(entry: Entry, work: Work, home: Path) -> Case:
    return write(work if entry.keeps_masks else work.twin, home)


def missing(entry: Entry) -> str | None:
    """What has to be run for a peer to be there; None where it is."""
    wanted = {entry.environment: entry.interpreter(), entry.maker or entry.environment: entry.making()}
    names = sorted(name for name, found in wanted.items() if found is None)
    return f"python -m benchmarks.setup_peers {' '.join(names)}" if names else None


def _begin(
    entry: Entry, work: Work, home: Path, settings: argparse.Namespace, stack: ExitStack
) -> tuple[dict[str, Any], _Turn | None]:
    """Start a peer and check what it computes; a peer that cannot is a row with the reason."""
    if remedy := missing(entry):
        return {"status": "not installed", "reason": remedy}, None
    case = _folder(entry, work, home)
    env = environment(settings.threads, home)
    if reason := _make(entry, case, env):
        return {"status": "refused", "reason": reason}, None
    try:
        began = time.perf_counter()
        child = stack.enter_context(Child(entry.name, _command(entry, case), env))
        logits = np.array(child.ask("logits")["logits"])
        took = time.perf_counter() - began
    except RefusedError as refusal:
        return {"status": "refused", "reason": str(refusal).removeprefix(f"bench: {entry.name}: ")}, None
    fact: dict[str, Any] = {"dense": not entry.keeps_masks and bool(work.sparsity)}
    if not entry.forward_only:
        off = error(logits, read_expected(case.folder).logits)
        if not off <= TOLERANCE:
            child.close()
            reason = f"outputs after {STEPS} steps off by {off:.1e}, expected {TOLERANCE:.0e}"
            return {"status": "differs", "reason": reason, "error": off}, None
        fact["error"] = off
    slowest = sum(child.ask(*words)["ms"] for words in _QUESTIONS.values()) / 1e3
    every = max(1, min(round(slowest / SHARE), settings.rounds // FEWEST or 1))
    taken: Taken = {f"{key}{kind}": {} for key in _QUESTIONS for kind in ("", "_cpu")}
    fact |= {"status": "measured", "start_s": round(took, 2)}
    return fact, _Turn(child, every, taken)


def _command(entry: Entry, case: Case) -> list[str]:
    module = f"benchmarks.peers.{entry.module}"
    return [str(entry.interpreter()), "-m", module, str(case.folder), *entry.options]


def _make(entry: Entry, case: Case, env: dict[str, str]) -> str | None:
    """Its files, once; the reason where it cannot make them."""
    stamp = case.folder / f"made-{entry.module}.json"
    if not stamp.exists():
        command = [str(entry.making()), "-m", f"benchmarks.peers.{entry.module}", str(case.folder), "make"]
        words: dict[str, Any] = {"capture_output": True, "text": True, "cwd": ROOT}
        try:
            done = subprocess.run(command, env=os.environ | env, timeout=900, check=False, **words)
            lines = done.stderr.strip().splitlines() or ["said nothing"]
            reason = None if done.returncode == 0 else lines[-1][:300]
        except subprocess.TimeoutExpired:
            reason = "took more than 15 minutes to make its files"
        stamp.write_text(json.dumps({"reason": reason}), encoding="utf-8")
    found: str | None = json.loads(stamp.read_text(encoding="utf-8"))["reason"]
    return found


def _rounds(turns: dict[str, _Turn], rounds: int) -> float | None:
    """Everybody's turns, the order reversed each time."""
    for i in range(-WARM_UP, rounds):
        for name in list(turns)[:: 1 if i % 2 else -1]:
            turn = turns[name]
            if i % turn.every and i >= 0:
                continue
            if i < 0 and turn.every > 1:
                continue
            for key, words in _QUESTIONS.items():
                answer = turn.child.ask(*words)
                if i >= 0:
                    turn.taken[key][i] = answer["ms"]
                    turn.taken[f"{key}_cpu"][i] = answer["cpu_ms"]
    return machine.load()


def _cold(entry: Entry, case: Case, settings: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Processes started for nothing but a first adapted prediction."""
    command, env = _command(entry, case), environment(settings.threads, home)
    wall, facts = [], []
    for _ in range(settings.cold):
        with Child(entry.name, command, env) as child:
            wall.append(child.cold_ms)
            facts.append(child.first)
    if not facts:
        return {}
    floor = [f["peak_bytes"] - f["floor_bytes"] for f in facts]
    made: dict[str, Any] = {
        "cold_ms": spread(wall).to_json(),
        "cold_cpu_ms": spread([f["cpu_ms"] for f in facts]).to_json(),
        "import_cpu_ms": spread([f["import_cpu_ms"] for f in facts]).to_json(),
        "peak_bytes": spread([f["peak_bytes"] for f in facts]).to_json(),
        "above_floor_bytes": spread(floor).to_json(),
        "above_import_bytes": spread([f["peak_bytes"] - f["imported_bytes"] for f in facts]).to_json(),
        "artifact_bytes": facts[0]["artifact_bytes"],
    }
    if entry.environment == MAIN:
        made["installed_bytes"] = own_bytes(entry.needs)
    elif python(entry.environment):
        made["installed_bytes"] = installed_bytes(entry.environment)
    return made


def run(settings: argparse.Namespace) -> dict[str, Any]:
    """Every case of the suite that the output does not hold yet; written after each."""
    out, home = Path(settings.output), Path(settings.work)
    home.mkdir(parents=True, exist_ok=True)
    made = _resumed(out, settings)
    held = {case["name"] for case in made["cases"]}
    asked = [work for work in cases(settings.suite) if not settings.case or work.name in settings.case]
    wanted = [work for work in asked if work.name not in held]
    for i, work in enumerate(wanted):
        began = time.monotonic()
        print(f"suite: {work.name}, case {i + 1} of {len(wanted)}", file=sys.stderr, flush=True)
        found = run_case(work, home, settings)
        found["noise"] = noise(found)
        made["cases"].append(found)
        atomic_write(out, (json.dumps(made, indent=1) + "\n").encode())
        left = (time.monotonic() - began) * (len(wanted) - i - 1)
        print(f"suite: {_told(found)}; about {left / 60:.0f} min left", file=sys.stderr, flush=True)
    made["ceilings"] = ceilings.measure()
    made["machine"]["load_after"] = machine.load()
    atomic_write(out, (json.dumps(made, indent=1) + "\n").encode())
    return made


def _resumed(out: Path, settings: argparse.Namespace) -> dict[str, Any]:
    if out.exists():
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        if (
            found.get("suite") == settings.suite
            and found["machine"]["commit"] == machine.describe()["commit"]
        ):
            return found
        raise SystemExit(
            f"suite: {out}: holds another suite or commit than {settings.suite} here; name another file, "
            "or remove it"
        )
    environments = {e.environment for e in PEERS if e.environment != MAIN and python(e.environment)}
    return {
        "format": 1,
        "suite": settings.suite,
        "command": f"python -m benchmarks.suite {out.name} --suite {settings.suite}",
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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", help="where the JSON goes; cases it holds are kept")
    parser.add_argument("--suite", choices=("short", "readme", "full"), default="short")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each peer (default: 15)")
    parser.add_argument("--cold", type=int, default=3, help="cold starts of each peer (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each peer (default: 1)")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="these cases of the suite only")
    parser.add_argument("--only", nargs="+", metavar="PEER", help="these peers only")
    parser.add_argument("--work", default="build/suite", help="where cases and files of peers are kept")
    args = parser.parse_args(argv)
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
