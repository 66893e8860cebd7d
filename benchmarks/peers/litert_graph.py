"""The file of `litert_train`. Its converter derives no gradient of a convolution's filter, and the
interpreter from the package index runs no TensorFlow ops, so the gradients of convolution, pooling and norm
are written here in ops that it has: what a determined user can do today.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

from benchmarks.case import Case
from benchmarks.workloads import QUERIES, WAYS, Layer

Tensor = Any


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _conv(x: Tensor, w: Tensor) -> Any:
    """Stride 1, padded by half of the kernel."""
    size = int(w.shape[0])
    half = size // 2
    y = tf.nn.conv2d(x, w, 1, "SAME")

    def grad(dy: Tensor) -> tuple[Tensor, Tensor]:
        flipped = tf.transpose(tf.reverse(w, [0, 1]) if size > 1 else w, [0, 1, 3, 2])
        dx = tf.nn.conv2d(dy, flipped, 1, "SAME")
        # The filter's gradient is a convolution of its own: channels as the batch, samples as the channels.
        images = tf.transpose(x, [3, 1, 2, 0])
        if half:
            images = tf.pad(images, [[0, 0], [half, half], [half, half], [0, 0]])
        dw = tf.nn.conv2d(images, tf.transpose(dy, [1, 2, 0, 3]), 1, "VALID")
        return dx, tf.transpose(dw, [1, 2, 0, 3])

    return y, grad


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _pool(x: Tensor) -> Any:
    n, height, width, channels = (int(side) for side in x.shape)
    rows, columns = height // 2, width // 2
    y = tf.nn.max_pool2d(x, 2, 2, "VALID")

    def up(t: Tensor) -> Tensor:
        spread = tf.tile(tf.reshape(t, [n * rows, 1, columns, 1, channels]), [1, 2, 1, 2, 1])
        return tf.reshape(spread, [n, 2 * rows, 2 * columns, channels])

    def grad(dy: Tensor) -> Tensor:
        # With whole filters, equal values are only there where a ReLU cut, and its own gradient is zero.
        chosen = tf.cast(tf.equal(x[:, : 2 * rows, : 2 * columns, :], up(y)), tf.float32)
        left = [[0, 0], [0, height - 2 * rows], [0, width - 2 * columns], [0, 0]]
        return tf.pad(chosen * up(dy), left)

    return y, grad


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _pool_first(x: Tensor) -> Any:
    """The same where values may tie, in an eighth more time of the whole step."""
    n, height, width, channels = (int(side) for side in x.shape)
    rows, columns = height // 2, width // 2
    y = tf.nn.max_pool2d(x, 2, 2, "VALID")

    def grad(dy: Tensor) -> Tensor:
        # The first of equal values has it, as elsewhere: a filter with few weights sees nothing but padding
        # along an edge, and makes the same of it everywhere.
        free, parts = tf.ones_like(dy), []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            corner = x[:, i : 2 * rows : 2, j : 2 * columns : 2, :]
            chosen = free * tf.cast(tf.equal(corner, y), tf.float32)
            free -= chosen
            parts.append(tf.reshape(chosen * dy, [n * rows, 1, columns, 1, channels]))
        top, bottom = tf.concat(parts[:2], 3), tf.concat(parts[2:], 3)
        image = tf.reshape(tf.concat([top, bottom], 1), [n, 2 * rows, 2 * columns, channels])
        return tf.pad(image, [[0, 0], [0, height - 2 * rows], [0, width - 2 * columns], [0, 0]])

    return y, grad


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _relu(x: Tensor) -> Any:
    y = tf.nn.relu(x)
    return y, lambda dy: dy * tf.cast(tf.greater(y, 0.0), tf.float32)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _norm(x: Tensor, gain: Tensor, shift: Tensor) -> Any:
    count = float(np.prod([int(side) for side in x.shape[:-1]]))
    centred = x - tf.reduce_mean(x, [0, 1, 2], keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, [0, 1, 2], keepdims=True) + 1e-5)
    normed = centred * scale

    def grad(dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dshift, dgain = tf.reduce_sum(dy, [0, 1, 2]), tf.reduce_sum(dy * normed, [0, 1, 2])
        dx = (gain * scale) * (dy - dshift / count - normed * (dgain / count))
        return dx, dgain, dshift

    return normed * gain + shift, grad


def _apply(layer: Layer, p: dict[str, Tensor], x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    match layer:
        case ("residual", main, short):
            a = b = x
            for inner in main:
                a = _apply(inner, p, a, pool)
            for inner in short:
                b = _apply(inner, p, b, pool)
            return a + b
        case ("conv", name, _, _, stride, groups):
            if stride > 1 or groups > 1:
                raise NotImplementedError(
                    "no gradient of strided or depthwise convolutions was written for it by hand"
                )
            return _conv(x, p[f"{name}.weight"])
        case ("norm", name):
            return _norm(x, p[f"{name}.weight"], p[f"{name}.bias"])
        case ("linear", name, _):
            return tf.matmul(x, p[f"{name}.weight"]) + p[f"{name}.bias"]
        case ("relu",):
            return _relu(x)
        case ("pool",):
            return pool(x)
        case ("mean",):
            return tf.reduce_mean(x, [1, 2])
        case ("flatten",):
            return tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [int(x.shape[0]), -1])
    raise NotImplementedError(f"layer {layer!r}")


def _laid(array: Any) -> Any:
    """Filters as height, width, in, out; matrices as in, out."""
    turned = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)
    return np.ascontiguousarray(array.transpose(turned)) if turned else array


class _Model(tf.Module):  # type: ignore[misc]
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        sparse = any((array == 0).any() for array in case.weights.values())
        self.pool = _pool_first if sparse else _pool
        self.start = {name: _laid(array) for name, array in case.weights.items()}
        self.moving = {
            name: tf.Variable(self.start[name], name=name.replace(".", "_")) for name in case.moving
        }
        self.frozen = {name: tf.constant(self.start[name]) for name in case.frozen}
        self.masks = {name: tf.constant(_laid(m).astype(np.float32)) for name, m in case.masks.items()}

    def _now(self) -> dict[str, Tensor]:
        return {**self.frozen, **{name: v.read_value() for name, v in self.moving.items()}}

    def _forward(self, p: dict[str, Tensor], x: Tensor) -> Tensor:
        for layer in self.case.layers:
            x = _apply(layer, p, x, self.pool)
        return x

    def train(self, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        now, names = self._now(), list(self.moving)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for name in names:
                tape.watch(now[name])
            logits = self._forward(now, x)
            softmax = tf.nn.softmax(logits)
            # Its gradient by the logits is the cross-entropy's.
            stand_in = tf.reduce_sum(logits * tf.stop_gradient((softmax - t) / float(t.shape[0])))
        for name, grad in zip(names, tape.gradient(stand_in, [now[n] for n in names]), strict=True):
            moved = grad * self.masks[name] if name in self.masks else grad
            self.moving[name].assign(now[name] - self.case.rate * moved)
        return {"loss": -tf.reduce_mean(tf.reduce_sum(t * tf.math.log(softmax + 1e-30), 1))}

    def predict(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self._forward(self._now(), x)}

    def restore(self, x: Tensor) -> dict[str, Tensor]:
        for name, variable in self.moving.items():
            variable.assign(tf.constant(self.start[name]))
        return {"ok": x + 0.0}


def convert(case: Case) -> bytes:
    """The flat buffer."""
    model = _Model(case)
    sides = case.shape if len(case.shape) == 1 else (*case.shape[1:], case.shape[0])

    def spec(*shape: int) -> Any:
        return tf.TensorSpec(shape, tf.float32)

    support = len(case.x)
    signatures = {
        "train": tf.function(model.train).get_concrete_function(
            x=spec(support, *sides), t=spec(support, WAYS)
        ),
        "restore": tf.function(model.restore).get_concrete_function(x=spec(1)),
    }
    for count in (1, QUERIES):
        signatures[f"predict{count}"] = tf.function(model.predict).get_concrete_function(
            x=spec(count, *sides)
        )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(model, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.experimental_enable_resource_variables = True
        made: bytes = converter.convert()
    return made
