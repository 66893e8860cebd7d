"""Normalisation by running statistics is a scale and a shift per channel: the layer before can do it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from regrow.ops.schema import number
from regrow.program import Op
from regrow_exporter.simplify.net import LAYERS, Array, Floats, Net, bias_of, with_bias


def fold_norms(net: Net) -> int:
    """Fold every such norm whose layer nothing else reads and nothing can change; returns how many."""
    makers = {op.outputs[0]: op for op in net.ops}
    fixed = net.fixed()  # a norm without a scale of its own has a computed one
    folded = 0
    for norm in list(net.ops):
        layer = makers.get(norm.inputs[0]) if norm.kind == "batch_norm_frozen" else None
        if layer is None or not _foldable(net, layer, norm, fixed):
            continue
        # The layer makes what the norm made, under its name.
        merged = replace(_merged(net, layer, norm, fixed), outputs=norm.outputs)
        net.replace({layer.outputs[0]: None, norm.outputs[0]: merged})
        makers[norm.outputs[0]] = merged
        folded += 1
    return folded


def _foldable(net: Net, layer: Op, norm: Op, fixed: Mapping[str, Array]) -> bool:
    frozen = all(n in net.tensors for n in layer.inputs[1:]) and all(n in fixed for n in norm.inputs[1:])
    # A linear layer over a sequence has its channels last, a norm has them second.
    aligned = layer.kind == "conv2d" or len(net.values[layer.outputs[0]].shape) == 2
    alone = net.reads(layer.outputs[0]) == 1 and net.reads(layer.inputs[1]) == 1
    return layer.kind in LAYERS and frozen and aligned and alone


def scale_and_shift(norm: Op, fixed: Mapping[str, Array]) -> tuple[Floats, Floats]:
    """What a norm by running statistics multiplies by and adds."""
    gamma, beta, mean, var = (fixed[name] for name in norm.inputs[1:])
    scale = gamma / np.sqrt(var + number(norm.attrs, "eps"))
    return scale, beta - mean * scale


def _merged(net: Net, layer: Op, norm: Op, fixed: Mapping[str, Array]) -> Op:
    scale, shift = scale_and_shift(norm, fixed)
    weight, bias = layer.inputs[1], "".join(layer.inputs[2:])
    w = net.tensors[weight]
    # A product: pruned positions stay zero.
    net.tensors[weight] = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    shift = shift + (net.tensors[bias] * scale if bias else 0.0)
    return with_bias(layer, net.put(bias, shift, bias_of(weight)))
