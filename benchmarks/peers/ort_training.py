"""onnxruntime-training's interface for devices: checkpoint, module, optimizer; its own artifacts."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads


def imports() -> None:
    """The package imports torch for what a device does not use; an empty one in its place does not."""
    import onnxruntime

    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    sys.modules["onnxruntime.training"] = package
    onnxruntime.training = package
    from onnxruntime.training import api  # noqa: F401


class Training:
    """Parameters live in the checkpoint; putting them back copies one buffer."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import onnxruntime
        from onnxruntime.training.api import CheckpointState, Module, Optimizer

        self.folder = case.folder / "ort-training"
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads(), 1
        state = CheckpointState.load_checkpoint(str(self.folder / "checkpoint"))
        paths = [str(self.folder / f"{kind}_model.onnx") for kind in ("training", "eval", "optimizer")]
        self.module = Module(paths[0], state, paths[1], device="cpu", session_options=settings)
        self.optimizer = Optimizer(paths[2], self.module)
        self.optimizer.set_learning_rate(case.rate)
        # The runtime keeps a view of this array, so it has to live as long.
        self.start = self.module.get_contiguous_parameters(trainable_only=True).numpy().copy()
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(self.start)._ortvalue
        self.case = case

    def reset(self) -> None:
        self.module.copy_buffer_to_parameters(self.value, trainable_only=True)
        self.module.lazy_reset_grad()

    def adapt(self, steps: int) -> None:
        self.module.train()
        for _ in range(steps):
            self.module(self.case.x, self.case.y)
            self.optimizer.step()
            self.module.lazy_reset_grad()

    def predict(self, query: NDArray[Any]) -> NDArray[Any]:
        self.module.eval()
        made = self.module(query, np.zeros(len(query), np.int64))
        return [np.asarray(part) for part in made if np.asarray(part).ndim == 2][-1]

    def artifact_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())


def make(case: Case) -> None:
    """Its training, evaluation and optimizer graphs."""
    imports()
    import onnx
    from onnxruntime.training import artifacts

    from benchmarks.peers.onnx_graph import build, initializer

    folder = case.folder / "ort-training"
    folder.mkdir(exist_ok=True)
    artifacts.generate_artifacts(
        build(case, "batch"),
        requires_grad=[initializer(name) for name in case.moving],
        frozen_params=[initializer(name) for name in case.frozen],
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(folder),
        additional_output_names=["logits"],
    )
    # It turns the norms of its evaluation graph to fixed statistics, which then have one output too many.
    path = folder / "eval_model.onnx"
    model = onnx.load(str(path))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "training_mode":
                attribute.i = 1
    onnx.save(model, str(path))


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Training), make=make))
