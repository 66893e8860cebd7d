"""JAX on the processor: one jitted step, images channels last."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import Layer

_FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def imports() -> None:
    """One thread, no accelerator."""
    if threads() == 1:
        os.environ.setdefault("XLA_FLAGS", _FLAGS)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax  # noqa: F401


def _laid(array: NDArray[Any]) -> NDArray[Any]:
    """Images and filters with the channels last."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def _apply(layer: Layer, p: dict[str, Any], x: Any) -> Any:
    import jax
    from jax import lax
    from jax import numpy as jnp

    match layer:
        case ("residual", main_branch, short):
            a = b = x
            for inner in main_branch:
                a = _apply(inner, p, a)
            for inner in short:
                b = _apply(inner, p, b)
            return a + b
        case ("conv", name, _, kernel, stride, groups):
            return lax.conv_general_dilated(
                x,
                p[f"{name}.weight"],
                (stride, stride),
                [(kernel // 2, kernel // 2)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
        case ("norm", name):
            mean = jnp.mean(x, (0, 1, 2))
            scale = p[f"{name}.weight"] * lax.rsqrt(jnp.mean((x - mean) ** 2, (0, 1, 2)) + 1e-5)
            return (x - mean) * scale + p[f"{name}.bias"]
        case ("linear", name, _):
            return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        case ("relu",):
            return jax.nn.relu(x)
        case ("pool",):
            return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        case ("mean",):
            return jnp.mean(x, (1, 2))
        case ("flatten",):
            return jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
    raise NotImplementedError(f"layer {layer!r}")


class Jitted:
    """Parameters go in and come out."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import jax
        from jax import numpy as jnp

        def put(name: str) -> Any:
            array = case.weights[name]
            # HWIO: the output is last here, the first in the case
            return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)

        self.first = {name: put(name) for name in case.moving}
        frozen = {name: put(name) for name in case.frozen}
        masks = {
            name: jnp.asarray(m.transpose(2, 3, 1, 0) if m.ndim == 4 else m, np.float32)
            for name, m in case.masks.items()
        }
        self.x, self.y = jnp.asarray(_laid(case.x)), jnp.asarray(case.y.astype(np.int32))

        def forward(moving: Any, frozen: Any, x: Any) -> Any:
            for layer in case.layers:
                x = _apply(layer, {**frozen, **moving}, x)
            return x

        def loss(moving: Any, frozen: Any, x: Any, y: Any) -> Any:
            picked = jnp.take_along_axis(jax.nn.log_softmax(forward(moving, frozen, x)), y[:, None], 1)
            return -jnp.mean(picked)

        def step(moving: Any, frozen: Any, x: Any, y: Any) -> Any:
            grads = jax.grad(loss)(moving, frozen, x, y)
            return {n: moving[n] - case.rate * grads[n] * masks.get(n, 1.0) for n in moving}

        self.frozen = frozen
        self.step, self.forward = jax.jit(step), jax.jit(forward)
        self.now = self.first
        self.weights = case.folder / "weights.npz"

    def reset(self) -> None:
        self.now = self.first

    def adapt(self, steps: int) -> None:
        import jax

        now = self.now
        for _ in range(steps):
            now = self.step(now, self.frozen, self.x, self.y)
        self.now = jax.block_until_ready(now)

    def laid(self, query: NDArray[Any]) -> NDArray[Any]:
        """On the host; what it takes to hand them over is timed."""
        return _laid(query)

    def predict(self, query: Any) -> NDArray[Any]:
        return np.asarray(self.forward(self.now, self.frozen, query))

    def artifact_bytes(self) -> int:
        return self.weights.stat().st_size


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Jitted, Jitted.laid)))
