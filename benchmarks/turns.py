"""One case of the suite: start every peer, check it, let them take turns, and start each for nothing else."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import allocations, energy
from benchmarks.case import Case
from benchmarks.figures import Taken, all_ratios, figures
from benchmarks.peers import MAIN, PEERS, Entry
from benchmarks.prepare import read_expected, write
from benchmarks.setup_peers import ROOT, installed_bytes, own_bytes, python
from benchmarks.workloads import QUERIES, STEPS, Work, flops, prepared
from regrow.bench import machine
from regrow.bench.peers import THREADS, Child, RefusedError
from regrow.bench.stats import spread

# Relative to what five steps change of the outputs; fp32 alone loses about 1e-5, a wrong gradient far more.
TOLERANCE = 1e-2
WARM_UP = 2
# A turn of more seconds than the first comes in FEWEST rounds only, of more than the second in one.
EVERY_ROUND, FEW_ROUNDS, FEWEST = 1.0, 5.0, 3
COLD_SECONDS = 5.0  # of starts for nothing else, unless one alone takes as long
# A short adaptation is repeated at once, too: by then the caches hold nothing else.
AGAIN, SHORT_MS = 4, 50.0
_QUESTIONS = {
    "adapt_ms": ("adapt", STEPS),
    "step_ms": ("adapt", 1),
    "predict_1_ms": ("predict", 1),
    f"predict_{QUERIES}_ms": ("predict", QUERIES),
}
# Pools of threads spin for a while after their work, which would be in the next one's turn.
QUIET = 0.25
# glibc hands large arrays back to the system and takes them again with every step; then clearing pages
# is most of what is measured. Users of frameworks are advised to run them with an allocator that keeps what
# it has.
_KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}


@dataclass
class _Turn:
    """A running peer and in how many rounds it is asked."""

    child: Child
    rounds: int
    taken: Taken


def environment(threads: int, home: Path, *, keep: bool = True) -> dict[str, str]:
    """What each child sees: the checkout's own code, how many threads it may use, an allocator that keeps
    what it has.
    """
    limits = dict.fromkeys(THREADS, str(threads))
    made = {"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}", "REGROW_BENCH_THREADS": str(threads)}
    return {**limits, **made, **(_KEEP if keep else {}), "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}


def run_case(work: Work, home: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """One case, every peer."""
    case, what = write(work, home), prepared(work)
    found: dict[str, Any] = {
        "name": work.name,
        "workload": work.workload,
        "title": what.title,
        "pruning": work.pruning,
        "adaptable": work.chosen,
        "parameters": sum(array.size for array in case.weights.values()),
        "forward_flops": flops(what.layers, what.shape),
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
        found["load"] = _rounds(turns, settings.rounds, QUIET if settings.threads > 1 else 0.0)
        for name, turn in turns.items():
            found["peers"][name] |= figures(turn.taken) | _energy(turn)
        found["ratios"] = all_ratios({name: turn.taken for name, turn in turns.items()})
    for name in turns:
        entry = next(e for e in PEERS if e.name == name)
        found["peers"][name] |= _cold(entry, _folder(entry, work, home), settings, home)
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
        child = stack.enter_context(Child(entry.name, _command(entry, case), env, patience=settings.patience))
        began = time.perf_counter()
        logits = np.array(child.ask("logits")["logits"])
        turn_s = time.perf_counter() - began
    except TimeoutError:
        reason = f"no adapted prediction {settings.patience:.0f} s after its start"
        return {"status": "slow", "reason": reason}, None
    except RefusedError as refusal:
        return {"status": "refused", "reason": str(refusal).removeprefix(f"bench: {entry.name}: ")}, None
    fact: dict[str, Any] = {"dense": not entry.keeps_masks and bool(work.sparsity)}
    if not entry.forward_only:
        off = read_expected(case.folder).error(logits)
        if not off <= TOLERANCE:
            child.close()
            reason = f"outputs after {STEPS} steps off by {off:.1e} of their change, expected {TOLERANCE:.0e}"
            return {"status": "differs", "reason": reason, "error": off}, None
        fact["error"] = off
    rounds = settings.rounds if turn_s <= EVERY_ROUND else FEWEST if turn_s <= FEW_ROUNDS else 1
    return fact | {"status": "measured"}, _Turn(child, min(rounds, settings.rounds), {})


def _command(entry: Entry, case: Case) -> list[str]:
    module = f"benchmarks.peers.{entry.module}"
    return [str(entry.interpreter()), "-m", module, str(case.folder), *entry.options]


def make_all(works: list[Work], home: Path, settings: argparse.Namespace) -> None:
    """Every file that peers need made ahead of time, on all cores, since nobody measures yet."""
    env, only = environment(settings.threads, home), settings.only
    entries = [e for e in PEERS if (not only or e.name in only) and missing(e) is None]
    pairs = {(e.module, f.folder): (e, f) for w in works for e in entries for f in (_folder(e, w, home),)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda pair: _make(pair[0], pair[1], env), pairs.values()))


def _make(entry: Entry, case: Case, env: dict[str, str]) -> str | None:
    """Its files, once; the reason where it cannot make them."""
    stamp = case.folder / f"made-{entry.module}.json"
    if not stamp.exists():
        command = [str(entry.making()), "-m", f"benchmarks.peers.{entry.module}", str(case.folder), "make"]
        words: dict[str, Any] = {"capture_output": True, "text": True, "cwd": ROOT}
        try:
            done = subprocess.run(command, env=os.environ | env, timeout=900, check=False, **words)
            lines = done.stderr.strip().splitlines() or ["said nothing"]
            reason = None if done.returncode == 0 else lines[-1].strip()[:300]
        except subprocess.TimeoutExpired:
            reason = "took more than 15 minutes to make its files"
        stamp.write_text(json.dumps({"reason": reason}), encoding="utf-8")
    found: str | None = json.loads(stamp.read_text(encoding="utf-8"))["reason"]
    return found


def _rounds(turns: dict[str, _Turn], rounds: int, quiet: float) -> float | None:
    """Everybody's turns. The order is drawn anew each round: whoever always came after the same one, or after
    itself, would find the caches as that one leaves them.
    """
    names = list(turns)
    for i in range(-WARM_UP, rounds):
        for k in np.random.default_rng(i + WARM_UP).permutation(len(names)):
            turn = turns[names[k]]
            time.sleep(quiet)
            if i >= 0 and i < turn.rounds:
                _take(turn, i)
            elif i < 0 and turn.rounds == rounds:
                _take(_Turn(turn.child, rounds, {}), i)
    return machine.load()


def _take(turn: _Turn, i: int) -> None:
    """One turn."""

    def keep(key: str, answers: list[Any]) -> None:
        for kind, name in (
            ("ms", key),
            ("cpu_ms", f"{key}_cpu"),
            ("instructions", f"{key[:-2]}instructions"),
        ):
            if kind in answers[0]:
                turn.taken.setdefault(name, {})[i] = float(np.median([a[kind] for a in answers]))

    for key, words in _QUESTIONS.items():
        answer = turn.child.ask(*words)
        keep(key, [answer])
        if key == "adapt_ms" and answer["ms"] < SHORT_MS:
            keep("again_ms", [turn.child.ask(*words) for _ in range(AGAIN)])


def _energy(turn: _Turn) -> dict[str, Any]:
    """Of one adaptation, everything that the machine takes meanwhile; nothing where it has no counter."""
    held = energy.counters()
    if not held:
        return {}
    joules, calls = energy.used(held, lambda: turn.child.ask("adapt", STEPS))
    idle, _ = energy.used(held, lambda: time.sleep(energy.SECONDS))
    return {"joules": joules, "joules_count": calls, "idle_watts": idle / energy.SECONDS}


def _cold(entry: Entry, case: Case, settings: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Processes started for nothing but a first adapted prediction, with the allocator as it comes."""
    command, env = _command(entry, case), environment(settings.threads, home, keep=False)
    wall: list[float] = []
    facts: list[Any] = []
    while len(wall) < settings.cold and sum(wall) + (wall or [0.0])[-1] <= COLD_SECONDS * 1e3:
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
    made |= {key: facts[0][key] for key in ("planned_bytes",) if key in facts[0]}
    counting = allocations.environment(home)
    if counting and wall[0] <= COLD_SECONDS * 1e3:
        with Child(entry.name, command, env | counting) as child:
            made |= {"allocated_bytes": child.first["allocated_bytes"]}
    if entry.environment == MAIN:
        made["installed_bytes"] = own_bytes(entry.needs)
    elif python(entry.environment):
        made["installed_bytes"] = installed_bytes(entry.environment)
    return made
