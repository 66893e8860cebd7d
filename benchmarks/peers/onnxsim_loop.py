"""onnxsim's training-step graph on stock onnxruntime, run as onnxsim runs it: state stays where it is.

It differentiates neither a cross-entropy nor a norm by the batch's own statistics, so both are spelled in ops
that it does differentiate, as its documentation advises. Its step carries the parameters; the rate is an
input.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import WAYS

STEP, FORWARD = "onnxsim-step.onnx", "onnxsim-forward.onnx"


def imports() -> None:
    """The runtime alone."""
    import onnxruntime  # noqa: F401


class Loop:
    """Parameters as values of onnxruntime, fed from step to step."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads(), 1
        self.paths = [case.folder / STEP, case.folder / FORWARD]
        about = json.loads((case.folder / "onnxsim.json").read_text(encoding="utf-8"))
        self.state: dict[str, str] = about["state"]
        self.step, self.forward = (
            ort.InferenceSession(str(path), settings, ["CPUExecutionProvider"]) for path in self.paths
        )
        self.outputs = [o.name for o in self.step.get_outputs()]
        shapes = {i.name: i.shape for i in self.step.get_inputs()}

        def start(name: str) -> NDArray[Any]:
            # Norms are spelled, so what it calls its parameters is what the case does, below "net.".
            return case.weights.get(name.removeprefix("net."), np.zeros(shapes[name], np.float32))

        put = ort.OrtValue.ortvalue_from_numpy
        self.start = {name: put(start(name)) for name in self.state}
        self.feeds = {"lr": put(np.asarray(case.rate, np.float32)), "x": put(case.x)}
        self.feeds["y"] = put(np.eye(WAYS, dtype=np.float32)[case.y])
        self.inputs = {i.name for i in self.forward.get_inputs()} - {"x"}
        self.now = dict(self.start)

    def reset(self) -> None:
        self.now = dict(self.start)

    def adapt(self, steps: int) -> None:
        for _ in range(steps):
            made = self.step.run_with_ort_values(self.outputs, {**self.feeds, **self.now})
            found = dict(zip(self.outputs, made, strict=True))
            self.now = {name: found[output] for name, output in self.state.items()}

    def laid(self, query: NDArray[Any]) -> Any:
        """As a value of the runtime."""
        import onnxruntime as ort

        return ort.OrtValue.ortvalue_from_numpy(query)

    def predict(self, query: Any) -> NDArray[Any]:
        feeds = {name: self.now[name] for name in self.inputs} | {"x": query}
        made: NDArray[Any] = self.forward.run_with_ort_values(["logits"], feeds)[0].numpy()
        return made

    def artifact_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)


def make(case: Case) -> None:
    """Both graphs, in an environment with onnxsim and torch."""
    from benchmarks.peers.onnxsim_graphs import write

    write(case, case.folder / STEP, case.folder / FORWARD, case.folder / "onnxsim.json")


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Loop, Loop.laid), make=make))
