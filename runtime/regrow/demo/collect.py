"""Gather what the steps left in the demo's folder into one record, `results.json`. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.demo.pictures import picture
from regrow.demo.results import (
    Accuracy,
    Curve,
    Episode,
    Estimate,
    Peer,
    Picture,
    Point,
    Range,
    Results,
    Sizes,
)
from regrow.demo.steps import Step
from regrow.demo.walk import MODELS, SHOTS, Plan

FORMAT = 1
# Subjects of `regrow bench` by the names people know.
_NAMES = {"onnx": "regrow (onnx)", "native": "regrow (native)", "torch": "torch (eager)"}
# Steps that a device takes, by their command.
_DEVICE = {"adapt", "predict", "evaluate"}


def collect(out: Path, plan: Plan, steps: Sequence[Step], seconds: Mapping[str, float]) -> Results:
    """Everything the page shows."""
    bench, inspected = _json(out / "bench.json"), _json(out / "inspect.json")
    machine, provenance = bench["machine"], inspected["provenance"]
    return {
        "format": FORMAT,
        "date": machine["date"][:10],
        "commit": machine["commit"],
        "machine": {
            "processor": machine["cpu"],
            "cores": f"{machine['cores']}",
            "system": machine["system"],
            "load": f"{machine['load']}",
        },
        "versions": {**machine["versions"], "Python": machine["python"]},
        "n_way": provenance["data"]["n_way"],
        "support": bench["support"],
        "recipe": provenance["recipe"]["name"],
        "iterations": plan.base + plan.more,
        "accuracy": [_accuracy(out, model, shots) for shots in SHOTS for model in MODELS],
        "curves": [_curve(out, model, plan) for model in MODELS],
        "episode": _episode(out),
        "sizes": _sizes(out, inspected),
        "peers": [_peer(name, figures) for name, figures in bench["subjects"].items()],
        "torch_free": all(s.torch_free for s in steps if s.command[0] in _DEVICE),
        "seconds": dict(seconds),
        "commands": [s.line for s in steps],
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _accuracy(out: Path, model: str, shots: int) -> Accuracy:
    found = _json(out / f"{model}-{shots}-shot.json")
    before, after = found["curve"][0], found["curve"][-1]
    return {
        "model": model,
        "shots": shots,
        "episodes": after["episodes"],
        "before": _estimate(before),
        "after": _estimate(after),
        "controls": {name: _estimate(figures) for name, figures in found["controls"].items()},
    }


def _estimate(figures: Mapping[str, float]) -> Estimate:
    return {"mean": figures["mean"], "half_width": figures["half_width"]}


def _curve(out: Path, model: str, plan: Plan) -> Curve:
    """The dense model's curve begins with what both have in common."""
    common = _points(out / "base" / "metrics.jsonl", 0)
    own = _points(out / model / "metrics.jsonl", plan.base)
    return {"model": model, "points": [*(common if model == "dense" else common[-1:]), *own]}


def _points(path: Path, offset: int) -> list[Point]:
    records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        {"iteration": offset + r["iteration"], "accuracy": r["accuracy"]}
        for r in records
        if r["kind"] == "validation"
    ]


def _episode(out: Path) -> Episode:
    support = _pictures(out / "support.npz", None)
    predicted = [row["label"] for row in _json(out / "predict.json")["predictions"]]
    shots = max(sum(p["label"] == q["label"] for q in support) for p in support)
    return {"shots": shots, "support": support, "queries": _pictures(out / "query.npz", predicted)}


def _pictures(path: Path, predicted: Iterable[str] | None) -> list[Picture]:
    with np.load(path, allow_pickle=False) as file:
        x, y = file["x"], [str(label) for label in file["y"]]
    told = [None] * len(y) if predicted is None else list(predicted)
    return [picture(*sample) for sample in zip(x, y, told, strict=True)]


def _sizes(out: Path, inspected: Mapping[str, Any]) -> Sizes:
    masked = [p for p in inspected["parameters"] if p["kept"] < p["size"]]
    return {
        "onnx_dense": (out / "dense-onnx" / "predict.onnx").stat().st_size,
        "bundle_dense": (out / "dense.regrow").stat().st_size,
        "bundle_pruned": (out / "pruned.regrow").stat().st_size,
        "weights": sum(p["size"] for p in masked),
        "kept": sum(p["kept"] for p in masked),
    }


def _peer(name: str, figures: Mapping[str, Any]) -> Peer:
    def spread(figure: str) -> Range:
        return {
            "median": figures[figure]["median"],
            "low": figures[figure]["low"],
            "high": figures[figure]["high"],
        }

    return {
        "name": _NAMES.get(name, name),
        "adapt_ms": spread("adapt_ms"),
        "predict_ms": spread("predict_1_ms"),
        "cold_ms": spread("cold_ms"),
        "above_import_bytes": spread("above_import_bytes"),
        "peak_bytes": spread("peak_bytes"),
    }
