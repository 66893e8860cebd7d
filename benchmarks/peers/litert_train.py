"""LiteRT: training, prediction and restoring as signatures of one file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import WAYS

FILE = "litert.tflite"


def imports() -> None:
    """The interpreter alone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from ai_edge_litert import interpreter  # noqa: F401


class Signatures:
    """Weights are variables of the interpreter; a signature puts them back."""

    def __init__(self, case: Case, options: list[str]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = case.folder / FILE
        self.signature = Interpreter(model_path=str(self.path), num_threads=threads()).get_signature_runner
        self.train, self.restore = self.signature("train"), self.signature("restore")
        self.predicting: dict[int, Any] = {}
        self.x, self.hot = _laid(case.x), np.eye(WAYS, dtype=np.float32)[case.y]

    def reset(self) -> None:
        self.restore(x=np.zeros(1, np.float32))

    def adapt(self, steps: int) -> None:
        for _ in range(steps):
            self.train(x=self.x, t=self.hot)

    def laid(self, query: NDArray[Any]) -> NDArray[Any]:
        """Channels last."""
        return _laid(query)

    def predict(self, query: Any) -> NDArray[Any]:
        count = len(query)
        if count not in self.predicting:
            self.predicting[count] = self.signature(f"predict{count}")
        made: NDArray[Any] = self.predicting[count](x=query)["logits"]
        return made

    def artifact_bytes(self) -> int:
        return self.path.stat().st_size


def _laid(x: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def make(case: Case) -> None:
    """The file, in an environment with TensorFlow."""
    from benchmarks.peers.litert_graph import convert

    (case.folder / FILE).write_bytes(convert(case))


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Signatures, Signatures.laid), make=make))
