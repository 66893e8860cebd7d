"""A nearest-class-mean bundle with ONNX graphs written by hand, for the runtime's part of metric heads.

Features are x * scale; head.sums and head.counts adapt. Imported only where `onnx` is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, parser

from regrow import bundle
from regrow.manifest import InputSpec, Manifest, OutputSpec, Policy, RuleSpec, SelfTest
from regrow.program import Op, Program, Value

D, C = 6, 5
Array = NDArray[Any]

_HEAD = '<ir_version: 9, opset_import: ["" : 18]>'
_SCORES = """
  {p}some = Clip ({counts}, one)
  {p}column = Unsqueeze ({p}some, axis1)
  {p}means = Div ({sums}, {p}column)
  {p}m = Unsqueeze ({p}means, axis0)
  {p}gap = Sub (h3, {p}m)
  {p}squares = Mul ({p}gap, {p}gap)
  {p}distance = ReduceSum <keepdims = 0> ({p}squares, axis2)
  {p}scores = Neg ({p}distance)
"""
_LOSS = """
  {p}logits = Where (active, {p}scores, minus_inf)
  {p}logp = LogSoftmax <axis = 1> ({p}logits)
  {p}picked = GatherElements <axis = 1> ({p}logp, y_column)
  {p}mean_logp = ReduceMean <keepdims = 0> ({p}picked)
  {p}loss = Neg ({p}mean_logp)
"""
_CONSTANTS = "float one = {1.0}, int64[1] axis0 = {0}, int64[1] axis1 = {1}, int64[1] axis2 = {2}"
_FEATURES = """
  h = Mul (x, frozen_scale)
  h3 = Unsqueeze (h, axis1)
"""
_ADAPT = f"""{_HEAD}
adapt (float[B,{D}] x, int64[B] y, bool[{C}] active, float[{C},{D}] p_sums, float[{C}] p_counts)
   => (float[1] loss, float final_loss, float[{C},{D}] n_sums, float[{C}] n_counts)
   <float minus_inf = {{-inf}}, int64 depth = {{{C}}}, float[2] off_on = {{0.0, 1.0}}, {_CONSTANTS}>
{{
  {_FEATURES}
  y_column = Unsqueeze (y, axis1)
  hot = OneHot <axis = 1> (y, depth, off_on)
  new = ReduceSum <keepdims = 0> (hot, axis0)
  turned = Transpose <perm = [1, 0]> (hot)
  added = MatMul (turned, h)
  n_sums = Add (p_sums, added)
  n_counts = Add (p_counts, new)
  {_SCORES.format(p="b_", sums="p_sums", counts="p_counts")} {_LOSS.format(p="b_")}
  loss = Unsqueeze (b_loss, axis0)
  {_SCORES.format(p="a_", sums="n_sums", counts="n_counts")} {_LOSS.format(p="a_")}
  final_loss = Identity (a_loss)
}}
"""
_PREDICT = f"""{_HEAD}
predict (float[B,{D}] x, float[{C},{D}] p_sums, float[{C}] p_counts) => (float[B,{C}] logits)
   <{_CONSTANTS}>
{{
  {_FEATURES}
  {_SCORES.format(p="", sums="p_sums", counts="p_counts")}
  logits = Identity (scores)
}}
"""
_NAMES = {
    "p_sums": "param:head.sums",
    "p_counts": "param:head.counts",
    "n_sums": "new:head.sums",
    "n_counts": "new:head.counts",
    "frozen_scale": "frozen:scale",
}


def graph(text: str) -> bytes:
    """A graph without weights, as an exporter writes it."""
    model = parser.parse_model(text)
    for item in (*model.graph.input, *model.graph.output):
        item.name = _NAMES.get(item.name, item.name)
    for node in model.graph.node:
        node.input[:] = [_NAMES.get(n, n) for n in node.input]
        node.output[:] = [_NAMES.get(n, n) for n in node.output]
    tensor = TensorProto(
        name="frozen:scale", data_type=TensorProto.FLOAT, dims=(D,), data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="regrow")
    model.graph.initializer.append(tensor)
    return bytes(model.SerializeToString())


def scale() -> NDArray[np.float32]:
    return np.linspace(0.5, 1.5, D, dtype=np.float32)


def write(path: Path, *, labels: tuple[str, ...] | None = None) -> str:
    """Write the bundle; returns its digest."""
    empty = {"head.sums": np.zeros((C, D), np.float32), "head.counts": np.zeros(C, np.float32)}
    packed = [bundle.pack_parameter("scale", scale(), "none")]
    packed += [bundle.pack_parameter(n, w, "all", np.zeros(w.shape, np.bool_)) for n, w in empty.items()]
    tensors: dict[str, Array] = {name: part for _, parts in packed for name, part in parts.items()}
    tensors |= {"onnx.adapt": bundle.pack_blob(graph(_ADAPT))}
    tensors |= {"onnx.predict": bundle.pack_blob(graph(_PREDICT))}
    texts = {name: json.dumps(program.to_json()).encode() for name, program in programs().items()}
    tensors |= {f"program.{name}": bundle.pack_blob(text) for name, text in texts.items()}
    made = Manifest(
        name="metric",
        task="classification",
        input=InputSpec(shape=(D,), kind="vector"),
        output=OutputSpec((C,), "logits", labels),
        parameters=tuple(entry for entry, _ in packed),
        statistics=(),
        state=(),
        rule=RuleSpec("nearest", "regrow_trainer.rules.prototype:prototype", {}, 1, (), "metric"),
        policy=Policy("none", 1, C, float(np.finfo(np.float32).max)),
        programs={name: f"program.{name}" for name in texts},
        graphs={name: f"onnx.{name}" for name in ("adapt", "predict")},
        peak_bytes={"5": 1000},
        selftest=SelfTest(7, 5, 5, (1.0,), (0.0,), 1e-4),
        verification={},
        provenance={},
    )
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    return bundle.write(path, made, dict(ordered))


def programs() -> dict[str, Program]:
    """The same head as programs, as an exporter writes them."""
    x = {"x": Value((-1, D), role="input"), "scale": Value((D,), role="frozen")}
    h, given = {"h": Value((-1, D))}, {"y": Value((-1,), "int64", "input")}
    given["active"] = Value((C,), "bool", "input")
    head = {"head.sums": Value((C, D), role="adaptable"), "head.counts": Value((C,), role="adaptable")}
    features = Op("mul", ("x", "scale"), ("h",), {})
    loss = Op("cross_entropy", ("logits", "y", "active"), ("loss", ""), {})
    scores, made = _scores()
    fit, fitted = _fit()
    inner = h | head | made
    told = ("loss", "next:head.sums", "next:head.counts")
    return {
        "predict": Program(("x", "scale", *head), ("logits",), (features, *scores), x | inner),
        "prefix": Program(tuple(x), ("h",), (features,), x | h),
        "step": Program(
            ("h", *given, *head), told, (*scores, loss, *fit), inner | given | fitted | {"loss": Value(())}
        ),
        "finish": Program(
            ("h", *given, *head), ("loss",), (*scores, loss), inner | given | {"loss": Value(())}
        ),
    }


def _scores() -> tuple[tuple[Op, ...], dict[str, Value]]:
    """Minus the squared distance to every class mean."""
    steps: list[tuple[str, tuple[str, ...], str, tuple[int, ...], dict[str, Any]]] = [
        ("clip", ("head.counts",), "some", (C,), {"closed": True, "low": 1.0}),
        ("reshape", ("some",), "column", (C, 1), {"shape": (C, 1)}),
        ("div", ("head.sums", "column"), "means", (C, D), {}),
        ("reshape", ("h",), "h3", (-1, 1, D), {"shape": (-1, 1, D)}),
        ("sub", ("h3", "means"), "gap", (-1, C, D), {}),
        ("mul", ("gap", "gap"), "squares", (-1, C, D), {}),
        ("reduce_sum", ("squares",), "distance", (-1, C), {"axes": (2,), "keepdims": False}),
        ("neg", ("distance",), "logits", (-1, C), {}),
    ]
    ops = tuple(Op(kind, ins, (out,), attrs) for kind, ins, out, _, attrs in steps)
    return ops, {out: Value(shape) for _, _, out, shape, _ in steps}


def _fit() -> tuple[tuple[Op, ...], dict[str, Value]]:
    """Features and samples added up by class."""
    numbers = {"values": tuple(range(C)), "shape": (C,), "dtype": "int64"}
    ops = (
        Op("literal", (), ("classes",), numbers),
        Op("reshape", ("y",), ("y_column",), {"shape": (-1, 1)}),
        Op("equal", ("y_column", "classes"), ("is",), {}),
        Op("cast", ("is",), ("hot",), {"dtype": "float32"}),
        Op("matmul", ("hot", "h"), ("added",), {"transpose_a": True, "transpose_b": False}),
        Op("reduce_sum", ("hot",), ("new",), {"axes": (0,), "keepdims": False}),
        Op("add", ("head.sums", "added"), ("next:head.sums",), {}),
        Op("add", ("head.counts", "new"), ("next:head.counts",), {}),
    )
    values = {"classes": Value((C,), "int64"), "y_column": Value((-1, 1), "int64")}
    values |= {"is": Value((-1, C), "bool"), "hot": Value((-1, C)), "new": Value((C,))}
    values |= {"added": Value((C, D)), "next:head.sums": Value((C, D)), "next:head.counts": Value((C,))}
    return ops, values
