"""`python -m benchmarks.native_speed OUT.json`: the native engine beside torch eager and stock onnxruntime.

Every subject adapts the same episode for five steps, in turns, one thread each; a round gives one pair of
each, and ratios are of pairs. Times are processor time of the thread, so that other work on the machine
counts little. The engines also take the loss and the statistics after the last step, the loop in torch not.
Then one prediction, a cold start, resident memory, each convolution shape beside the machine's limits, and
what it costs in accuracy to keep activations in fp16 (two minutes of training).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import regrow
from benchmarks.native import process, roofline, waiting
from benchmarks.native.rows import REACHED, ROWS, W1, Row
from benchmarks.native.subjects import Subject, prepare, subjects, turns
from regrow.bench import machine
from regrow.bench.stats import ratios, spread
from regrow.bundle import Bundle, read
from regrow.plan.bound import lower_bound

NATIVE, SMALL, FP16 = "native", "native, small plan", "native, small-fp16 plan"
PLANS = ("fast", "small", "small-fp16")
SLOWER = 1.6  # times the fast plan's, what the small one may take


def measure(row: Row, seconds: float, most: int) -> dict[str, Any]:
    """All subjects of a row in turns; figures in milliseconds of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.regrow"
        records = turns(subjects(row, path), seconds, most)
        plans = {n: regrow.open(path, engine="native", plan=n).peak_bytes(row.work.samples) for n in PLANS}
        bound = _bound(read(path), row.work.samples)
    base = records[NATIVE]
    times = {k: ratios(v, base) for k, v in records.items() if k not in (NATIVE, SMALL, FP16)}
    others = [k for k in times if k != "torch"]
    if "fastest other" in row.targets:
        times["fastest other"] = times[min(others, key=lambda k: times[k].median)]
    made: dict[str, Any] = {
        "row": row.name,
        "workload": row.work.name,
        "sparsity": row.sparsity,
        "cpu_ms": {k: spread(v).to_json() for k, v in records.items()},
        "times_native": {k: v.to_json() for k, v in times.items()},
        "targets": [_judged(k, t, times[k].low) for k, t in row.targets.items()],
        "arena_bytes": {**plans, "lower_bound": bound},
    }
    if row.small:
        slower = ratios(records[SMALL], base)
        made["small_plan"] = {"slower": slower.to_json(), "allowed_kib": row.small, "allowed_slower": SLOWER}
    if row.half:
        slower = ratios(records[FP16], base)
        made["fp16_plan"] = {"slower": slower.to_json(), "allowed_kib": row.half, "allowed_slower": SLOWER}
    return made


def _judged(against: str, target: float, low: float) -> dict[str, Any]:
    return {"against": against, "target": target, "low": low, "reached": low >= REACHED * target}


def _bound(bundle: Bundle, batch: int) -> int:
    from regrow.engines.native import NativeEngine

    return lower_bound(bundle.program("step"), batch, NativeEngine(bundle)._kept)


def predict(most: int) -> dict[str, Any]:
    """One image through the network at 90 %, beside stock onnxruntime with the norms folded in."""
    import onnxruntime as ort

    row = next(r for r in ROWS if r.work is W1 and r.sparsity == 0.9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.regrow"
        module, x, y = prepare(row, path)
        session = regrow.open(path, engine="native").session()
        session.adapt(x.numpy(), y.numpy())
        graph = Path(folder) / "folded.onnx"
        torch.onnx.export(_folded(module), (x[:1],), str(graph), dynamo=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        other = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        one = np.ascontiguousarray(x[:1].numpy())
        name = other.get_inputs()[0].name
        made = {
            NATIVE: _often(lambda: session.predict(one)),
            "onnxruntime, folded": _often(lambda: other.run(None, {name: one})),
        }
        records = turns(made, 5, most)
    faster = ratios(records["onnxruntime, folded"], records[NATIVE])
    return {
        "row": "predict 1 image, W1, 90% pruned",
        "cpu_us": {k: spread([v * 1e3 / OFTEN for v in values]).to_json() for k, values in records.items()},
        "times_native": {"onnxruntime, folded": faster.to_json()},
        "targets": [_judged("onnxruntime, folded", 2, faster.low)],
    }


OFTEN = 20


def _often(once: Callable[[], object]) -> Subject:
    """A single prediction is over before a clock has said much."""

    def many() -> None:
        for _ in range(OFTEN):
            once()

    return many


def _folded(module: torch.nn.Module) -> torch.nn.Module:
    """Convolutions with bias, ReLU and pooling: what is left where running statistics are folded."""
    layers: list[torch.nn.Module] = []
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            plain = torch.nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
            plain.weight = layer.weight
            layers += [plain, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), module.get_submodule("head")).eval()


def whole_process(count: int) -> dict[str, Any]:
    """Cold start and resident memory on W1 at 90 %."""
    row = next(r for r in ROWS if r.work is W1 and r.sparsity == 0.9)
    with tempfile.TemporaryDirectory() as folder:
        path, samples, five = (Path(folder) / n for n in ("m.regrow", "x.npy", "five.npy"))
        prepare(row, path)
        x = np.random.default_rng(0).random((75, *row.work.shape), np.float32)
        np.save(samples, x)
        np.save(five, x[:5])
        return {
            "cold_start": process.cold(path, five, count) | {"target_s": 0.25},
            "resident_kib": process.memory(path, samples) | {"target": 6 * 1024},
        }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", help="where the JSON goes")
    parser.add_argument("--rounds", type=int, default=21, help="pairs per row at most (default: 21)")
    parser.add_argument(
        "--seconds", type=float, default=6, help="seconds per row, after six pairs (default: 6)"
    )
    parser.add_argument("--only", default="", help="part of a row's name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = machine.describe()
    results = []
    for row in (r for r in ROWS if args.only in r.name):
        results.append(measure(row, args.seconds, args.rounds))
        figures = {k: round(v["median"], 2) for k, v in results[-1]["times_native"].items()}
        print(row.name, f"{results[-1]['cpu_ms'][NATIVE]['median']:.2f} ms", figures, flush=True)
    made: dict[str, Any] = {"machine": before, "results": results}
    if not args.only:
        made["predict"] = predict(args.rounds)
        made["process"] = whole_process(20)
        made["roofline"] = roofline.table()
        with tempfile.TemporaryDirectory() as folder:
            made["fp16"] = waiting.accuracy(Path(folder))
    made["machine"]["load_after"] = machine.load()
    Path(args.output).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
