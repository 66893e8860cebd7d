"""MNN's Python training interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import WAYS, Layer, traced


def imports() -> None:
    """Lazy evaluation, since eager evaluation drops the graph that training needs, without saying so."""
    from MNN import expr

    expr.set_thread_number(threads())
    expr.lazy_eval(True)


class Training:
    """A module of MNN's own layers; weights go in by `load_parameters`, which copies."""

    def __init__(self, case: Case, options: list[str]) -> None:
        from MNN import expr, nn, optim

        every, head = set(case.weights), {name for name in case.weights if name.startswith("head.")}
        if set(case.moving) not in (every, head):
            raise NotImplementedError("its optimizer takes whole modules: everything or the head")
        self.case, self.parts = case, dict(_modules(case))

        class Net(nn.Module):  # type: ignore[misc]
            def __init__(net) -> None:  # noqa: N805
                super().__init__()
                for name, part in self.parts.items():
                    setattr(net, name, part)

            def forward(net, x: Any) -> Any:  # noqa: N805
                for layer in case.layers:
                    x = self._apply(layer, x)
                return x

        self.net = Net()
        self.net.train(True)
        self.moved = list(self.parts) if set(case.moving) == every else ["head"]
        # MNN reads these arrays later than it is told of them.
        self.alive: list[list[Any]] = [[], [], []]
        self._put(list(self.parts), keep=True)
        target = self.net if len(self.moved) > 1 else self.parts["head"]
        self.make_optimizer: Callable[[], Any] = lambda: optim.SGD(target, case.rate, 0.0, 0.0)
        self.optimizer = self.make_optimizer()
        self.x, self.hot = self.laid(case.x), expr.one_hot(_value(case.y.astype(np.int32)), WAYS, 1.0, 0.0)

    def _put(self, names: list[str], *, keep: bool = False) -> None:
        self.alive = [*self.alive, []] if keep else [self.alive[0], *self.alive[1:][-3:], []]
        for name in names:
            parts = [self.case.weights[f"{name}.weight"]]
            bias = self.case.weights.get(f"{name}.bias")
            if bias is not None:
                parts.append(bias)
            if "norm" in name:
                parts += [np.zeros_like(parts[1]), np.zeros_like(parts[1])]
            elif bias is not None:
                parts.reverse()  # a linear layer lists its bias first
            made = []
            for i, (array, slot) in enumerate(zip(parts, self.parts[name].parameters, strict=True)):
                copied = np.ascontiguousarray(array.reshape(tuple(slot.shape)).copy())
                self.alive[-1].append(copied)
                value = _value(copied)
                value.fix_as_trainable() if i < 2 else value.fix_as_const()
                made.append(value)
            self.parts[name].load_parameters(made)

    def _apply(self, layer: Layer, x: Any) -> Any:
        from MNN import expr

        match layer:
            case ("residual", main_branch, short):
                a = b = x
                for inner in main_branch:
                    a = self._apply(inner, a)
                for inner in short:
                    b = self._apply(inner, b)
                return expr.add(a, b)
            case ("relu",):
                return expr.relu(x)
            case ("pool",):
                return expr.max_pool(x, [2, 2], [2, 2])
            case ("mean",):
                return _mean(x)
            case ("flatten",):
                return _flat(x)
            case ("conv", name, _, kernel, stride, _) if stride > 1:
                half = [kernel // 2] * 2
                padded = expr.pad(expr.convert(x, expr.NCHW), [[0, 0], [0, 0], half, half])
                return self.parts[name].forward(expr.convert(padded, expr.NC4HW4))
            case (_, name, *_):
                return self.parts[name].forward(x)
        raise NotImplementedError(f"layer {layer!r}")

    def laid(self, x: NDArray[Any]) -> Any:
        """In its own layout of channels by fours."""
        from MNN import expr

        return expr.convert(_value(x), expr.NC4HW4) if x.ndim == 4 else _value(x)

    def reset(self) -> None:
        self._put(self.moved)
        self.optimizer = self.make_optimizer()

    def adapt(self, steps: int) -> None:
        from MNN import expr, nn

        self.net.train(True)
        for _ in range(steps):
            loss = nn.loss.cross_entropy(expr.softmax(self.net.forward(self.x), 1), self.hot)
            if not self.optimizer.step(loss):
                raise NotImplementedError("its optimizer did not step, and does not say why")

    def predict(self, query: Any) -> NDArray[Any]:
        self.net.train(True)
        self.out = self.net.forward(query)  # alive while numpy copies from it
        return np.array(self.out.read(), copy=True)

    def artifact_bytes(self) -> int:
        from MNN import expr

        path = self.case.folder / "parameters.mnn"
        expr.save(self.net.parameters, str(path))
        return path.stat().st_size


def _modules(case: Case) -> Any:
    from MNN import expr, nn

    for layer, before, _ in traced(case.layers, case.shape):
        match layer:
            case ("conv", name, out, kernel, stride, groups):
                # What it pads by itself lies on one side of a strided image; its other way of padding ignores
                # the padding it is given. So images are padded beforehand there.
                mode = expr.Padding_Mode.VALID if stride > 1 else expr.Padding_Mode.SAME
                sides = ([kernel] * 2, [stride] * 2, [0 if stride > 1 else kernel // 2] * 2, [1, 1])
                yield name, nn.conv(before[0], out, *sides, groups > 1, False, mode)
            case ("norm", name):
                yield name, nn.batch_norm(before[0], 4, 0.9, 1e-5)
            case ("linear", name, out):
                yield name, nn.linear(before[0], out)


def _value(array: NDArray[Any]) -> Any:
    """A copy: a constant made of an array would only point to it."""
    from MNN import expr

    array = np.ascontiguousarray(array)
    kind = expr.float if array.dtype == np.float32 else expr.int
    made = expr.placeholder(list(array.shape), expr.NCHW, kind)
    made.write(array)
    return made


def _mean(x: Any) -> Any:
    """Over the image, as pooling: its own mean passes no gradient on, without a word. Width first."""
    from MNN import expr

    sides = [x.shape[3], x.shape[2]]
    return _flat(expr.avg_pool(x, sides, sides))


def _flat(x: Any) -> Any:
    from MNN import expr

    return expr.reshape(expr.convert(x, expr.NCHW), [0, -1])


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Training, Training.laid)))
