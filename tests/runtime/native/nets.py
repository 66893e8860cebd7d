"""A small network with everything its training step needs, written out by hand: no exporter, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.program import Op, Program, Value

SAME = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
HALVE = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
EPS = {"eps": 1e-5}


@dataclass(frozen=True)
class Net:
    """Layers of `widths`, each a 3x3 convolution, batch norm, ReLU and, where said, pooling."""

    channels: int
    widths: tuple[int, ...]
    pooled: tuple[bool, ...]
    size: int

    def layers(self) -> list[tuple[str, int, int, int, bool]]:
        """Number, channels, filters, size and pooling of each."""
        made, width, size = [], self.channels, self.size
        for i, (filters, pool) in enumerate(zip(self.widths, self.pooled, strict=True)):
            made.append((str(i), width, filters, size, pool))
            width, size = filters, size // 2 if pool else size
        return made


def forward(net: Net) -> tuple[list[Op], dict[str, Value]]:
    values = {"x": Value((-1, net.channels, net.size, net.size), role="input")}
    ops: list[Op] = []
    last = "x"
    for i, width, filters, size, pool in net.layers():
        values |= {f"w{i}": Value((filters, width, 3, 3), role="adaptable")}
        values |= {f"{n}{i}": Value((filters,), role="adaptable") for n in "gb"}
        values |= {f"{n}{i}": Value((filters,)) for n in "mv"}
        values |= {f"{n}{i}": Value((-1, filters, size, size)) for n in "znr"}
        ops.append(Op("conv2d", (last, f"w{i}"), (f"z{i}",), SAME))
        ops.append(Op("batch_norm", (f"z{i}", f"g{i}", f"b{i}"), (f"n{i}", f"m{i}", f"v{i}"), EPS))
        ops.append(Op("relu", (f"n{i}",), (f"r{i}",), {}))
        last = f"r{i}"
        if pool:
            values[f"p{i}"] = Value((-1, filters, size // 2, size // 2))
            ops.append(Op("max_pool2d", (last,), (f"p{i}",), HALVE))
            last = f"p{i}"
    values |= {"y": Value(values[last].shape, role="label"), "loss": Value(())}
    ops.append(Op("mse", (last, "y"), ("loss",), {}))
    return ops, values


def parameters(net: Net) -> list[str]:
    return [f"{n}{i}" for i, *_ in net.layers() for n in "wgb"]


def backward(net: Net) -> tuple[list[Op], dict[str, Value]]:
    ops, values = forward(net)
    last = ops[-1].inputs[0]
    values |= {"one": Value(()), "lr": Value((), role="meta"), f"d:{last}": values[last]}
    ops.append(Op("full", (), ("one",), {"shape": (), "value": 1.0, "dtype": "float32"}))
    ops.append(Op("mse_back", ("one", last, "y"), (f"d:{last}",), {}))
    for i, _, _, size, pool in reversed(net.layers()):
        x = ops[[op.outputs[0] for op in ops].index(f"z{i}")].inputs[0]
        if pool:
            ops.append(Op("max_pool2d_back", (f"d:p{i}", f"r{i}", f"p{i}"), (f"d:r{i}",), HALVE))
        ops.append(Op("relu_back", (f"d:r{i}", f"r{i}"), (f"d:n{i}",), {}))
        inputs = (f"d:n{i}", f"z{i}", f"g{i}", f"m{i}", f"v{i}")
        ops.append(Op("batch_norm_back", inputs, (f"d:z{i}", f"d:g{i}", f"d:b{i}"), EPS))
        ops.append(Op("conv2d_dw", (f"d:z{i}", x), (f"d:w{i}",), SAME | {"kernel": (3, 3)}))
        if i != "0":
            ops.append(Op("conv2d_dx", (f"d:z{i}", f"w{i}"), (f"d:{x}",), SAME | {"size": (size, size)}))
        values |= {f"d:{n}{i}": values[f"{n}{i}"] for n in "zwgb"}
        values |= {f"d:{n}": values[n] for n in (x, f"r{i}", f"n{i}")}
    for name in parameters(net):
        values |= {f"s:{name}": values[name], f"next:{name}": values[name]}
        ops.append(Op("mul", ("lr", f"d:{name}"), (f"s:{name}",), {}))
        ops.append(Op("sub", (name, f"s:{name}"), (f"next:{name}",), {}))
    inner = ("d:", "s:", "next:")
    return ops, {n: Value(v.shape, v.dtype) if n.startswith(inner) else v for n, v in values.items()}


def programs(net: Net) -> dict[str, Program]:
    """The three of an adaptation by plain gradient steps."""
    inputs = ("x", "y", *parameters(net))
    ops, values = forward(net)
    steps, wide = backward(net)
    outputs = (*(f"next:{n}" for n in parameters(net)), "loss")
    return {
        "prefix": Program((), (), (), {}),
        "step": Program((*inputs, "lr"), outputs, tuple(steps), wide),
        "finish": Program(inputs, ("loss",), tuple(ops), values),
    }


def arrays(net: Net, batch: int, seed: int, masks: dict[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """Samples, targets and parameters; pruned positions are zero."""
    rng = np.random.default_rng(seed)
    step = programs(net)["step"]
    made = {n: rng.normal(size=step.values[n].at(batch)).astype(np.float32) for n in step.inputs if n != "lr"}
    made["lr"] = np.array(0.05, np.float32)
    for name, mask in masks.items():
        made[name] *= mask
    return made
