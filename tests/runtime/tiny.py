"""A linear softmax bundle with ONNX graphs written by hand: it tests the runtime without torch or exporter.

Features are (x - support mean) * scale; head.weight and head.bias adapt, the bias with momentum. Imported
only by tests that have skipped where `onnx` is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, parser

from regrow import bundle
from regrow.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    Policy,
    RuleSpec,
    SelfTest,
    TensorSpec,
)
from regrow.program import Program
from tests.runtime.tiny_programs import MOMENTUM, C, D, programs

LR = 0.5
Array = NDArray[Any]

_HEAD = '<ir_version: 9, opset_import: ["" : 18]>'
_FEATURES = """
  centred = Sub (x, mean)
  h = Mul (centred, frozen_scale)
"""
_LOSS = """
    {p}wt = Transpose <perm = [1, 0]> ({w})
    {p}hw = MatMul (h, {p}wt)
    {p}raw = Add ({p}hw, {b})
    {p}logits = Where (active, {p}raw, minus_inf)
    {p}logp = LogSoftmax <axis = 1> ({p}logits)
    {p}picked = GatherElements <axis = 1> ({p}logp, y_column)
    {p}mean_logp = ReduceMean <keepdims = 0> ({p}picked)
    {p}loss = Neg ({p}mean_logp)
"""
_STEP = """
    p = Exp (s_logp)
    difference = Sub (p, hot)
    dlogits = Div (difference, batch)
    dlogits_t = Transpose <perm = [1, 0]> (dlogits)
    dw = MatMul (dlogits_t, h)
    db = ReduceSum <keepdims = 0> (dlogits, axis0)
    v_decayed = Mul (v_in, momentum)
    v_out = Add (v_decayed, db)
    w_change = Mul (meta_lr, dw)
    w_moved = Sub (w_in, w_change)
    w_out = Where (mask_w, w_moved, w_in)
    b_change = Mul (meta_lr, v_out)
    b_out = Sub (b_in, b_change)
    go_out = Identity (go)
"""
_ADAPT = f"""{_HEAD}
adapt (float[B,{D}] x, int64[B] y, bool[{C}] active, int64 steps,
       float[{C},{D}] p_weight, float[{C}] p_bias, float[{C}] s_velocity)
   => (float[K] loss, float final_loss, float[{C},{D}] n_weight, float[{C}] n_bias, float[{C}] n_velocity,
       float[1,{D}] stat_mean)
   <float minus_inf = {{-inf}}, float momentum = {{{MOMENTUM}}},
    int64[1] axis0 = {{0}}, int64[1] axis1 = {{1}}, int64 depth = {{{C}}},
    float[2] off_on = {{0.0, 1.0}}, bool go_on = {{1}}>
{{
  mean = ReduceMean <keepdims = 1> (x, axis0)
  {_FEATURES}
  y_column = Unsqueeze (y, axis1)
  hot = OneHot <axis = 1> (y, depth, off_on)
  count = Size (y)
  batch = Cast <to = 1> (count)
  n_weight, n_bias, n_velocity, loss = Loop (steps, go_on, p_weight, p_bias, s_velocity) <
    body = step (int64 i, bool go, float[{C},{D}] w_in, float[{C}] b_in, float[{C}] v_in)
      => (bool go_out, float[{C},{D}] w_out, float[{C}] b_out, float[{C}] v_out, float s_loss)
    {{ {_LOSS.format(p="s_", w="w_in", b="b_in")} {_STEP} }}
  >
  {_LOSS.format(p="f_", w="n_weight", b="n_bias")}
  final_loss = Identity (f_loss)
  stat_mean = Identity (mean)
}}
"""
_PREDICT = f"""{_HEAD}
predict (float[B,{D}] x, float[{C},{D}] p_weight, float[{C}] p_bias, float[1,{D}] mean)
   => (float[B,{C}] logits)
{{
  {_FEATURES}
  wt = Transpose <perm = [1, 0]> (p_weight)
  hw = MatMul (h, wt)
  logits = Add (hw, p_bias)
}}
"""
# The text form of ONNX has no colons in names.
_NAMES = {
    "p_weight": "param:head.weight",
    "p_bias": "param:head.bias",
    "s_velocity": "state:velocity",
    "n_weight": "new:head.weight",
    "n_bias": "new:head.bias",
    "n_velocity": "newstate:velocity",
    "stat_mean": "stat:mean",
    "frozen_scale": "frozen:scale",
    "meta_lr": "meta:lr",
    "mask_w": "mask:head.weight",
}


def graph(name: str) -> bytes:
    """The "adapt" or "predict" graph without weights, as an exporter writes it."""
    names = _NAMES | ({"mean": "stat:mean"} if name == "predict" else {})
    model = parser.parse_model(_ADAPT if name == "adapt" else _PREDICT)
    for item in (*model.graph.input, *model.graph.output):
        item.name = names.get(item.name, item.name)
    _rename_nodes(model.graph, names)
    model.graph.initializer.append(_external("frozen:scale", TensorProto.FLOAT, (D,)))
    if name == "adapt":
        model.graph.initializer.append(_external("meta:lr", TensorProto.FLOAT, ()))
        model.graph.initializer.append(_external("mask:head.weight", TensorProto.BOOL, (C, D)))
    return bytes(model.SerializeToString())


def _rename_nodes(body: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in body.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_nodes(attribute.g, names)


def _external(name: str, kind: int, shape: tuple[int, ...]) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="regrow")
    return tensor


def weights(seed: int = 0) -> dict[str, Array]:
    """Frozen scale and an adaptable head, a third of whose weights is pruned."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(C, D)).astype(np.float32)
    weight[~kept(seed)] = 0
    return {
        "scale": rng.uniform(0.5, 1.5, D).astype(np.float32),
        "head.weight": weight,
        "head.bias": np.zeros(C, np.float32),
    }


def kept(seed: int = 0) -> NDArray[np.bool_]:
    """Which head weights exist."""
    return np.asarray(np.random.default_rng(seed + 1).uniform(size=(C, D)) > 1 / 3)


def write(
    path: Path,
    *,
    seed: int = 0,
    lr: float = LR,
    labels: tuple[str, ...] | None = None,
    max_loss_rise: float = 0.0,
    batch_norm: Any = "support",
    mean: float = 0.0,
    graphs: dict[str, bytes] | None = None,
) -> str:
    """Write the bundle; returns its digest."""
    tensors: dict[str, Array] = {}
    entries = []
    for name, array in weights(seed).items():
        mask = kept(seed) if name == "head.weight" else None
        adaptable: Any = "none" if name == "scale" else "all" if mask is None else "kept"
        entry, parts = bundle.pack_parameter(name, array, adaptable, mask)
        entries.append(entry)
        tensors |= parts
    tensors |= {
        "meta.lr": np.asarray(lr, np.float32),
        "state.velocity": np.zeros(C, np.float32),
        "stat.mean": np.zeros((1, D), np.float32),
    }
    made = {"adapt": graph("adapt"), "predict": graph("predict")} | (graphs or {})
    tensors |= {f"onnx.{name}": bundle.pack_blob(data) for name, data in made.items()}
    tensors |= {f"program.{name}": _pack(p) for name, p in programs().items()}
    manifest = _manifest(tuple(entries), labels, max_loss_rise, batch_norm, mean)
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    return bundle.write(path, manifest, dict(ordered))


def _pack(program: Program) -> NDArray[np.uint8]:
    import json

    return bundle.pack_blob(json.dumps(program.to_json()).encode())


def _manifest(
    parameters: tuple[Any, ...], labels: tuple[str, ...] | None, rise: float, batch_norm: Any, mean: float
) -> Manifest:
    return Manifest(
        name="tiny",
        task="classification",
        input=InputSpec(shape=(D,), kind="vector", mean=mean, std=1.0),
        output=OutputSpec((C,), "logits", labels),
        parameters=parameters,
        statistics=(TensorSpec("mean", (1, D)),),
        state=(TensorSpec("velocity", (C,)),),
        rule=RuleSpec("sgd", "regrow_trainer.rules.sgd:sgd", {"lr": LR}, 5, (TensorSpec("lr", ()),)),
        policy=Policy(batch_norm, 2, C, rise),
        programs={name: f"program.{name}" for name in ("predict", "prefix", "step", "finish")},
        graphs={name: f"onnx.{name}" for name in ("adapt", "predict")},
        peak_bytes={"5": 1000, "25": 5000},
        selftest=SelfTest(7, 5, 5, (1.0,), (0.0,), 1e-4),
        verification={"graph": {"loss": 1e-12}},
        provenance={"method": "by hand"},
    )


def support(ways: int = C, shots: int = 4, seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Well separated classes around random centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(C, D)) * 2
    y = np.repeat(np.arange(ways), shots)
    return (centres[y] + rng.normal(size=(len(y), D)) * 0.2).astype(np.float32), y.astype(np.int64)


def reference(
    x: Array, y: Array, active: Array, state: dict[str, Array], steps: int = 5, lr: float = LR, seed: int = 0
) -> tuple[dict[str, Array], list[float]]:
    """What the adapt graph computes, in numpy fp64: the new state and the losses, final one included."""
    base = weights(seed)
    mean = x.mean(0, keepdims=True, dtype=np.float64)
    h = (x - mean) * base["scale"]
    w, b, v = (state[n].astype(np.float64) for n in ("weight", "bias", "velocity"))
    losses = []
    for _ in range(steps + 1):
        logits = np.where(active, h @ w.T + b, -np.inf)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(float(-np.log(p[np.arange(len(y)), y]).mean()))
        if len(losses) > steps:
            break
        d = (p - np.eye(C)[y]) / len(y)
        v = v * MOMENTUM + d.sum(0)
        w, b = np.where(kept(seed), w - lr * (d.T @ h), w), b - lr * v
    return {"weight": w, "bias": b, "velocity": v, "mean": mean}, losses
