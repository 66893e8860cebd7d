"""One benchmark: the same episode by every engine and by torch, turn by turn, and what came of it.

A subject's timings count only if its outputs agree with the first engine's. Latencies come from processes
that stay up; cold start and memory from processes started for nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import bundle as bundles
from regrow import plan, selftest
from regrow.bench import machine
from regrow.bench.peers import Child, Peer, RefusedError
from regrow.bench.stats import ratios, spread
from regrow.bench.subject import Episode
from regrow.bundle import Bundle
from regrow.errors import UnsupportedError
from regrow.progress import Progress

QUERIES = 75
WARM_UP = 2
# Relative to the largest output. Five steps in fp32 drift by 1e-5 to 1e-4; a wrong gradient by far more.
TOLERANCE = 1e-2
_SEED = 20
_FIGURES = (
    "adapt_ms",
    "adapt_cpu_ms",
    "predict_1_ms",
    f"predict_{QUERIES}_ms",
    "cold_ms",
    "above_import_bytes",
    "peak_bytes",
)
Record = dict[str, list[float]]


def measure(
    path: str, peers: Sequence[Peer], *, support: int, repeat: int, cold: int, progress: Progress
) -> dict[str, Any]:
    """Run everything; plain data."""
    bundle = bundles.read(path)
    before = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        episode = str(Path(folder) / "episode.npz")
        arrays = _episode(bundle, support)
        np.savez(episode, x=arrays.x, y=arrays.y, query=arrays.query)
        records, outputs, skipped = _run(path, episode, peers, repeat, cold, progress)
    if not records:
        raise UnsupportedError(
            f"bench: nothing could be measured ({'; '.join(skipped.values()) or 'no engine is installed'}); "
            "pip install 'regrow[onnx]'"
        )
    programs = {name: bundle.program(name) for name in bundle.manifest.programs}
    return {
        "bundle": {"path": path, "name": bundle.manifest.name, "digest": bundle.digest},
        "support": support,
        "ways": _ways(bundle, support) if bundle.manifest.task == "classification" else None,
        "steps": bundle.manifest.rule.steps,
        "repeat": repeat,
        "cold": cold,
        "machine": {**before, "load_after": machine.load()},
        "planned_bytes": plan.peak_bytes(programs, support),
        "subjects": {name: _summary(record, outputs, name) for name, record in records.items()},
        "ratios": _ratios(records),
        "skipped": skipped,
        "raw": records,
    }


def _ways(bundle: Bundle, support: int) -> int:
    return max(1, min(bundle.manifest.policy.max_ways, support))


def _episode(bundle: Bundle, support: int) -> Episode:
    """The same for every subject; what is in it does not matter to speed, but the answers must agree."""
    made = bundle.manifest
    shape, ways = made.input.shape, _ways(bundle, support)
    x, y = selftest.episode(_SEED, support, ways, shape)
    query, _ = selftest.episode(_SEED, support + QUERIES, ways, shape)
    if made.task == "classification":
        return Episode(x, y, query[support:])
    targets = x.reshape(support, -1).mean(1).reshape(support, *[1] * len(made.output.shape))
    return Episode(x, np.broadcast_to(targets, (support, *made.output.shape)), query[support:])


def _run(
    path: str, episode: str, peers: Sequence[Peer], repeat: int, cold: int, progress: Progress
) -> tuple[dict[str, Record], dict[str, NDArray[Any]], dict[str, str]]:
    skipped: dict[str, str] = {}
    records: dict[str, Record] = {}
    outputs: dict[str, NDArray[Any]] = {}
    with ExitStack() as stack:
        children = []
        for peer in peers:
            try:
                child = stack.enter_context(peer.start(path, episode))
            except RefusedError as error:
                skipped[peer.name] = str(error)
                continue
            outputs[peer.name] = np.array(child.ask("logits", QUERIES)["logits"])
            if reason := _disagreement(outputs, peer.name):
                skipped[peer.name] = reason
                continue
            children.append(child)
            records[peer.name] = {figure: [] for figure in _FIGURES}
        rounds = repeat + WARM_UP
        for i in range(rounds):
            for child in children:
                _turn(child, records[child.name], keep=i >= WARM_UP)
            progress.update(i + 1)
    for i in range(cold):
        for peer in (peer for peer in peers if peer.name in records):
            _cold(peer, path, episode, records[peer.name])
        progress.update(rounds + i + 1)
    return records, outputs, skipped


def _disagreement(outputs: dict[str, NDArray[Any]], name: str) -> str | None:
    error = _error(outputs, name)
    if error <= TOLERANCE:
        return None
    first = next(iter(outputs))
    return f"bench: {name}: outputs differ from {first}'s by {error:.1e}, expected {TOLERANCE:.0e}; not timed"


def _error(outputs: dict[str, NDArray[Any]], name: str) -> float:
    """The largest difference from the first subject's outputs, relative to the largest of those."""
    first = next(iter(outputs.values()))
    used = np.isfinite(first)
    return float(np.max(np.abs(outputs[name][used] - first[used])) / np.max(np.abs(first[used])))


def _turn(child: Child, record: Record, *, keep: bool) -> None:
    adapted = child.ask("adapt")
    answers = {
        "adapt_ms": adapted["ms"],
        "adapt_cpu_ms": adapted["cpu_ms"],
        "predict_1_ms": child.ask("predict", 1)["ms"],
        f"predict_{QUERIES}_ms": child.ask("predict", QUERIES)["ms"],
    }
    if keep:
        for figure, value in answers.items():
            record[figure].append(value)


def _cold(peer: Peer, path: str, episode: str, record: Record) -> None:
    with peer.start(path, episode) as child:
        record["cold_ms"].append(child.cold_ms)
        peak, imported = child.first["peak_bytes"], child.first["imported_bytes"]
    record["above_import_bytes"].append(peak - imported)
    record["peak_bytes"].append(peak)


def _summary(record: Record, outputs: dict[str, NDArray[Any]], name: str) -> dict[str, Any]:
    figures = {figure: spread(values).to_json() for figure, values in record.items() if values}
    return {**figures, "output_error": _error(outputs, name)}


def _ratios(records: dict[str, Record]) -> dict[str, dict[str, Any]]:
    """Every later subject over the first, pair by pair."""
    (base, first), *others = records.items()
    return {
        f"{name} / {base}": {f: ratios(record[f], first[f]).to_json() for f in _FIGURES if record[f]}
        for name, record in others
    }
