"""Random applications of what networks are made of: products, norms, pooling, convolutions, losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from regrow.ops.conv import output_size
from tests.runtime.native.draws import Case, Draw, Rng, floats, sizes


def linear(rng: Rng) -> Case:
    n, d, c = (int(v) for v in rng.integers(1, 70, 3))
    lead = (n,) if rng.random() < 0.5 else (2, n)
    operands = [floats(rng, (*lead, d)), floats(rng, (c, d))]
    return operands + ([floats(rng, (c,))] if rng.random() < 0.5 else []), {}


def matmul(rng: Rng) -> Case:
    m, k, n = (int(v) for v in rng.integers(1, 70, 3))
    attrs = {"transpose_a": bool(rng.random() < 0.5), "transpose_b": bool(rng.random() < 0.5)}
    a, b = floats(rng, (m, k)), floats(rng, (k, n))
    return [
        np.ascontiguousarray(v.T) if attrs[f"transpose_{w}"] else v for v, w in ((a, "a"), (b, "b"))
    ], attrs


def batch_matmul(rng: Rng) -> Case:
    batch = sizes(rng, 2, 4)
    m, k, n = (int(v) for v in rng.integers(1, 20, 3))
    small = tuple(1 if rng.random() < 0.4 else d for d in batch)
    return [floats(rng, (*batch, m, k)), floats(rng, (*small, k, n))], {}


def softmax(gradient: str) -> Draw:
    def draw(rng: Rng) -> Case:
        shape = sizes(rng, 3)
        axis = int(rng.integers(0, 3))
        x = floats(rng, shape) * 3
        if not gradient:
            return [x], {"axis": axis}
        shifted = x - np.log(np.exp(x).sum(axis, keepdims=True))
        return [floats(rng, shape), (shifted if gradient == "log" else np.exp(shifted)).astype(np.float32)], {
            "axis": axis
        }

    return draw


def normalize(gradient: bool) -> Draw:
    def draw(rng: Rng) -> Case:
        shape = (int(rng.integers(1, 4)), *sizes(rng, 2), int(rng.integers(2, 30)))
        axis = int(rng.integers(1, 4))
        x = floats(rng, shape)
        if not gradient:
            return [x], {"axis": axis, "eps": 1e-3}
        like = tuple(1 if i >= axis else d for i, d in enumerate(shape))
        return [floats(rng, shape), x, np.abs(floats(rng, like)) + np.float32(0.5)], {"axis": axis}

    return draw


def batch_norm(gradient: bool, frozen: bool) -> Draw:
    def draw(rng: Rng) -> Case:
        rank = int(rng.integers(2, 6))
        shape = (int(rng.integers(2, 5)), int(rng.integers(1, 6)), *sizes(rng, rank - 2, 20))
        x, gamma, beta = floats(rng, shape), floats(rng, shape[1:2]), floats(rng, shape[1:2])
        axes = (0, *range(2, rank))
        given = [x.mean(axes), x.var(axes)] if not frozen else [beta, np.abs(gamma) + np.float32(0.1)]
        if gradient:
            return [floats(rng, shape), x, gamma, *given], {"eps": 1e-3}
        return [x, gamma, beta, *(given if frozen else [])], {"eps": 1e-3}

    return draw


def pool(kind: str) -> Draw:
    def draw(rng: Rng) -> Case:
        kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
        attrs: dict[str, Any] = {"kernel": kernel, "stride": tuple(int(v) for v in rng.integers(1, 4, 2))}
        attrs["padding"] = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        size = tuple(int(rng.integers(k, 9)) for k in kernel)
        x = floats(rng, (int(rng.integers(1, 3)), int(rng.integers(1, 4)), *size))
        out = [
            output_size(s, k, t, p, 1)
            for s, k, t, p in zip(size, kernel, attrs["stride"], attrs["padding"], strict=True)
        ]
        dy = floats(rng, (*x.shape[:2], *out))
        if kind.startswith("avg"):
            attrs["count_padding"] = bool(rng.random() < 0.5)
        if kind == "avg_back":
            return [dy], attrs | {"size": size}
        return ([dy, x, dy] if kind == "max_back" else [x]), attrs

    return draw


def conv(kind: str) -> Draw:
    def draw(rng: Rng) -> Case:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
        attrs: dict[str, Any] = {
            k: tuple(int(v) for v in rng.integers(1, 3, 2)) for k in ("stride", "dilation")
        }
        attrs |= {"padding": tuple(int(v) for v in rng.integers(0, 3, 2)), "groups": groups}
        size = tuple(
            int(rng.integers(d * (k - 1) + 1, 12)) for d, k in zip(attrs["dilation"], kernel, strict=True)
        )
        x = floats(rng, (int(rng.integers(1, 4)), groups * int(rng.integers(1, 4)), *size))
        w = floats(rng, (groups * int(rng.integers(1, 6)), x.shape[1] // groups, *kernel))
        out = [
            output_size(s, k, t, p, d)
            for s, k, t, p, d in zip(
                size, kernel, attrs["stride"], attrs["padding"], attrs["dilation"], strict=True
            )
        ]
        dy = floats(rng, (len(x), len(w), *out))
        if kind == "dx":
            return [dy, w], attrs | {"size": size}
        if kind == "dw":
            return [dy, x], attrs | {"kernel": kernel}
        return [x, w, *([floats(rng, (len(w),))] if rng.random() < 0.5 else [])], attrs

    return draw


def cross_entropy(gradient: bool, soft: bool) -> Draw:
    def draw(rng: Rng) -> Case:
        n, c = int(rng.integers(1, 9)), int(rng.integers(2, 9))
        active = rng.random(c) < 0.7
        active[rng.integers(0, c)] = True
        y = rng.choice(np.flatnonzero(active), n)
        logits = floats(rng, (n, c))
        weight = [np.abs(floats(rng, (c,))) + np.float32(0.1)] if soft else []
        attrs = {"smoothing": 0.1} if soft else {}
        if not gradient:
            return [logits, y, active, *weight], attrs
        p = np.exp(logits) * active
        p = (p / p.sum(1, keepdims=True)).astype(np.float32)
        return [floats(rng, ()), p, y, *([active, *weight] if soft else [])], attrs

    return draw


def judged(gradient: bool) -> Draw:
    def draw(rng: Rng) -> Case:
        shape = sizes(rng, 2, 30)
        pairs = [floats(rng, shape), floats(rng, shape)]
        return ([floats(rng, ()), *pairs] if gradient else pairs), {}

    return draw
