"""Cut channels out of the network: what a bias can hold moves there, tensors shrink, shapes follow."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from regrow.ops.schema import ints
from regrow.program import Attr, Op
from regrow.values import Mask
from regrow_exporter.graph import Graph
from regrow_exporter.simplify.known import Known, layer_axis
from regrow_exporter.simplify.net import LAYERS, Net
from regrow_exporter.simplify.reading import moved, reading

Kept = dict[str, tuple[Mask, ...]]


def cut_channels(net: Net, known: Mapping[str, Known], kept: Kept) -> None:
    """Shrink every tensor to what is kept of it, after what is lost has gone where it is still read."""
    for op in list(net.ops):
        if op.kind not in LAYERS or op.inputs[0] not in kept or op.attrs.get("groups", 1) != 1:
            continue
        axis = layer_axis(op, len(net.values[op.inputs[0]].shape))
        names = moved(net, op, reading(net, known, op), ~kept[op.inputs[0]][axis])
        if names is not None:
            weight = kept[op.inputs[1]]
            kept |= dict.fromkeys(names[:1], weight) | dict.fromkeys(names[1:], weight[:1])
            net.replace({op.outputs[0]: replace(op, inputs=(op.inputs[0], *names))})
    net.ops = [replace(op, attrs=_attrs(net, op, kept)) for op in net.ops]
    for name in kept.keys() & net.tensors.keys():
        array = net.tensors[name][np.ix_(*kept[name])]
        net.tensors[name] = array
        net.values[name] = replace(net.values[name], shape=array.shape)


def still_constants(net: Net, known: Mapping[str, Known], kept: Kept) -> None:
    """Scale by zero what a norm by the batch's own statistics makes a constant of anyway.

    In fp32 a constant and its mean may differ by a rounding, which the norm divides by next to nothing.
    """
    for norm in [op for op in net.ops if op.kind == "batch_norm" and op.outputs[0] in known]:
        x, gamma, beta = norm.inputs
        constant = np.isfinite(known[norm.outputs[0]].constants)
        if gamma in net.tensors and net.tensors[gamma][constant].any():
            name = net.put(gamma, np.where(constant, 0.0, net.tensors[gamma]), f"{gamma}.folded")
            kept |= {name: kept[gamma]} if gamma in kept else {}
            net.replace({norm.outputs[0]: replace(norm, inputs=(x, name, beta))})


def _attrs(net: Net, op: Op, kept: Kept) -> Mapping[str, Attr]:
    """What an op says about sizes."""
    if op.kind in ("reshape", "full") and op.outputs[0] in kept:
        masks = kept[op.outputs[0]]
        shape = ints(op.attrs, "shape")
        return {
            **op.attrs,
            "shape": tuple(int(m.sum()) if m.size else d for m, d in zip(masks, shape, strict=True)),
        }
    if op.kind == "conv2d" and op.attrs["groups"] != 1 and op.inputs[1] in kept:
        return {**op.attrs, "groups": int(kept[op.inputs[1]][0].sum())}
    return op.attrs


def replayed(net: Net) -> tuple[Graph, dict[str, str]]:
    """The network as a graph, every shape inferred anew, and what each value is called there."""
    graph = Graph()
    names: dict[str, str] = {}
    for name, value in net.values.items():
        if value.role != "temp":
            names[name] = graph.declare(name, value)
    for op in net.ops:
        graph.source = op.source
        made = graph.apply(op.kind, [names[n] for n in op.inputs], len(op.outputs), **op.attrs)
        names.update(zip(op.outputs, made, strict=True))
    return graph, names
