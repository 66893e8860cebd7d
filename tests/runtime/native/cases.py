"""Random applications of every op kind: inputs and attributes, sizes of one among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.runtime.native.draws import Array, Case, Draw, Rng, floats, sizes
from tests.runtime.native.layers import (
    batch_matmul,
    batch_norm,
    conv,
    cross_entropy,
    judged,
    linear,
    matmul,
    normalize,
    pool,
    softmax,
)


def unary(low: float | None = None, **attrs: Any) -> Draw:
    """One operand of any rank; above `low` where the function is not defined everywhere."""

    def draw(rng: Rng) -> Case:
        x = floats(rng, sizes(rng, int(rng.integers(0, 5)), 20))
        return [x if low is None else np.asarray(np.abs(x) + np.float32(low))], attrs

    return draw


def back(forward: str = "", **attrs: Any) -> Draw:
    """dy beside x, or beside y = forward(x) where the gradient is written in y."""

    def draw(rng: Rng) -> Case:
        shape = sizes(rng, int(rng.integers(1, 5)), 20)
        x = floats(rng, shape)
        kept = {"": x, "relu": np.maximum(x, 0), "tanh": np.tanh(x), "sigmoid": 1 / (1 + np.exp(-x))}
        kept["elu"] = np.where(x > 0, x, np.expm1(x))
        return [floats(rng, shape), kept[forward].astype(np.float32)], attrs

    return draw


def pair(dtype: str = "float32", positive: bool = False) -> Draw:
    """Two operands that broadcast against each other."""

    def draw(rng: Rng) -> Case:
        shape = sizes(rng, int(rng.integers(0, 5)))
        shapes = [
            tuple(1 if rng.random() < 1 / 4 else d for d in shape)[int(rng.integers(0, 2)) :] for _ in "ab"
        ]
        made: list[Array] = []
        for each in shapes:
            if dtype == "float32":
                made.append(np.asarray(floats(rng, each).round(1)))
            else:
                made.append(np.asarray(rng.integers(-9, 10, each)))
        if dtype == "bool":
            made = [np.asarray(a > 0) for a in made]
        if positive:
            made = [np.asarray(np.abs(a) + 1) for a in made]
        return made, {}

    return draw


def select(rng: Rng) -> Case:
    shape = sizes(rng, 3)
    mask = rng.random(tuple(1 if rng.random() < 1 / 4 else d for d in shape)) > 0.5
    a, b = floats(rng, shape), floats(rng, shape[1:])
    a.flat[0] = np.inf
    return [mask, a, b], {}


def cast(rng: Rng) -> Case:
    dtype = str(rng.choice(["float32", "int64", "bool"]))
    x = (floats(rng, sizes(rng, 2)) * 3).astype(str(rng.choice(["float32", "int64", "bool"])))
    return [x], {"dtype": dtype}


def fill(kind: str) -> Draw:
    def draw(rng: Rng) -> Case:
        if kind == "constant":
            return [], {"value": float(rng.normal())}
        dtype = str(rng.choice(["float32", "int64"]))
        shape = sizes(rng, 2)
        if kind == "full":
            return [], {"shape": shape, "value": 3.0, "dtype": dtype}
        values = tuple(rng.integers(0, 5, int(np.prod(shape))).tolist())
        return [], {"shape": shape, "values": values, "dtype": dtype}

    return draw


def expand(rng: Rng) -> Case:
    shape = sizes(rng, 3)
    small = tuple(1 if rng.random() < 1 / 2 else d for d in shape)
    return [floats(rng, small[int(rng.integers(0, 2)) :])], {"shape": shape}


def reshape(rng: Rng) -> Case:
    shape = sizes(rng, 3)
    return [floats(rng, shape)], {"shape": (shape[0] * shape[1], shape[2])}


def permute(rng: Rng) -> Case:
    rank = int(rng.integers(1, 5))
    return [floats(rng, sizes(rng, rank))], {"order": tuple(rng.permutation(rank).tolist())}


def reduce(with_like: bool) -> Draw:
    def draw(rng: Rng) -> Case:
        shape = sizes(rng, int(rng.integers(1, 5)))
        axes = tuple(
            sorted(rng.choice(len(shape), int(rng.integers(1, len(shape) + 1)), replace=False).tolist())
        )
        attrs = {"axes": axes, "keepdims": bool(rng.random() < 0.5)}
        x = floats(rng, shape)
        if not with_like:
            return [x], attrs
        dy = floats(rng, x.sum(axes, keepdims=attrs["keepdims"]).shape)
        return [dy, x], attrs

    return draw


def cut(rng: Rng) -> Case:
    axis, size = int(rng.integers(0, 3)), int(rng.integers(1, 9))
    start = int(rng.integers(0, size))
    shape = list(sizes(rng, 3))
    shape[axis] = size
    attrs = {
        "axis": axis,
        "start": start,
        "stop": int(rng.integers(start + 1, size + 1)),
        "step": int(rng.integers(1, 4)),
    }
    return [floats(rng, tuple(shape))], attrs


def cut_back(rng: Rng) -> Case:
    (x,), attrs = cut(rng)
    index = (slice(None),) * attrs["axis"] + (slice(attrs["start"], attrs["stop"], attrs["step"]),)
    return [floats(rng, x[index].shape)], attrs | {"size": x.shape[attrs["axis"]]}


def concat(rng: Rng) -> Case:
    shape, axis = sizes(rng, 3), int(rng.integers(0, 3))
    parts = [(*shape[:axis], int(rng.integers(1, 4)), *shape[axis + 1 :]) for _ in range(3)]
    return [floats(rng, part) for part in parts], {"axis": axis}


def split(rng: Rng) -> Case:
    shape, axis = sizes(rng, 3), int(rng.integers(0, 3))
    parts = tuple(int(rng.integers(1, 4)) for _ in range(3))
    return [floats(rng, (*shape[:axis], sum(parts), *shape[axis + 1 :]))], {"axis": axis, "sizes": parts}


def gather(rng: Rng) -> Case:
    table = floats(rng, sizes(rng, 3))
    return [table, rng.integers(0, len(table), sizes(rng, 2))], {}


def argsort(rng: Rng) -> Case:
    x = floats(rng, sizes(rng, 3))
    # Equals are common where weights were pruned.
    whole = bool(rng.integers(2))
    return [np.round(x).astype(np.int64) if whole else np.round(x)], {"descending": bool(rng.integers(2))}


CASES: dict[str, Draw] = {
    **{
        k: unary()
        for k in [
            "identity",
            "neg",
            "relu",
            "tanh",
            "sigmoid",
            "silu",
            "hardsigmoid",
            "hardswish",
            "exp",
            "abs",
            "sign",
        ]
    },
    "log": unary(0.1),
    "sqrt": unary(0.0),
    "leaky_relu": unary(slope=0.1),
    "elu": unary(alpha=1.0),
    "softplus": unary(beta=1.5, threshold=2.0),
    "gelu": unary(approximate="none"),
    "clip": unary(low=None, high=0.5),
    **{f"{k}_back": back(k) for k in ("relu", "tanh", "sigmoid")},
    **{f"{k}_back": back() for k in ("silu", "hardsigmoid", "hardswish")},
    "elu_back": back("elu", alpha=1.0),
    "leaky_relu_back": back(slope=0.1),
    "softplus_back": back(beta=1.5, threshold=2.0),
    "gelu_back": back(approximate="tanh"),
    "clip_back": back(low=-0.5, high=0.5, closed=True),
    **{k: pair() for k in ["add", "sub", "mul", "greater", "greater_equal", "equal"]},
    **{k: pair(positive=True) for k in ("div", "pow_tensor")},
    **{k: pair("int64", positive=True) for k in ("floor_divide", "remainder")},
    **{k: pair("bool") for k in ("logical_and", "logical_or")},
    "logical_not": lambda rng: ([rng.random(sizes(rng, 2)) > 0.5], {}),
    "select": select,
    "cast": cast,
    **{k: fill(k) for k in ("constant", "full", "literal")},
    "expand": expand,
    "reshape": reshape,
    "permute": permute,
    **{f"reduce_{k}": reduce(False) for k in ("sum", "mean")},
    **{f"reduce_{k}_back": reduce(True) for k in ("sum", "mean")},
    "slice": cut,
    "slice_back": cut_back,
    "concat": concat,
    "split": split,
    "gather": gather,
    "argsort": argsort,
    "linear": linear,
    "matmul": matmul,
    "batch_matmul": batch_matmul,
    "softmax": softmax(""),
    "log_softmax": softmax(""),
    "softmax_back": softmax("plain"),
    "log_softmax_back": softmax("log"),
    "normalize": normalize(False),
    "normalize_back": normalize(True),
    "batch_norm": batch_norm(False, False),
    "batch_norm_back": batch_norm(True, False),
    "batch_norm_frozen": batch_norm(False, True),
    "batch_norm_frozen_back": batch_norm(True, True),
    "max_pool2d": pool("max"),
    "max_pool2d_back": pool("max_back"),
    "avg_pool2d": pool("avg"),
    "avg_pool2d_back": pool("avg_back"),
    "conv2d": conv(""),
    "conv2d_dx": conv("dx"),
    "conv2d_dw": conv("dw"),
    "cross_entropy": cross_entropy(False, False),
    "cross_entropy_back": cross_entropy(True, False),
    "cross_entropy_soft": cross_entropy(False, True),
    "cross_entropy_soft_back": cross_entropy(True, True),
    **{k: judged(False) for k in ("bce", "mse")},
    **{f"{k}_back": judged(True) for k in ("bce", "mse")},
}
