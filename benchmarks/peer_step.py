"""A training-step graph of onnxsim on onnxruntime, run as onnxsim does: state stays where it is."""

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from torch import nn

from benchmarks.networks import WAYS


class PeerStep:
    """The file of `benchmarks.onnxsim_step` with the weights of a Conv4."""

    def __init__(self, graph: bytes, network: nn.Module, steps: int, rate: float) -> None:
        self.steps = steps
        about = json.loads(
            next(p.value for p in onnx.load_from_string(graph).metadata_props if p.key == "step")
        )
        self.version, self.batch, self.state = about["onnxsim"], int(about["batch"]), about["state"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]
        weights = {f"net.{n}": p.detach().numpy() for n, p in network.named_parameters()}
        shapes = {i.name: i.shape for i in self.session.get_inputs()}
        start = {name: weights.get(name, np.zeros(shapes[name], np.float32)) for name in self.state}
        self.start = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in start.items()}
        self.feeds = {"lr": ort.OrtValue.ortvalue_from_numpy(np.asarray(rate, np.float32))}
        self.now = dict(self.start)

    def take(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """The support set; its labels one-hot, as the graph has them."""
        hot = np.eye(WAYS, dtype=np.float32)[y]
        self.feeds |= {"x": ort.OrtValue.ortvalue_from_numpy(x), "y": ort.OrtValue.ortvalue_from_numpy(hot)}

    def adapt(self) -> None:
        """All steps from the start."""
        self.now = dict(self.start)
        for _ in range(self.steps):
            made = self.session.run_with_ort_values(self.outputs, {**self.feeds, **self.now})
            found = dict(zip(self.outputs, made, strict=True))
            self.now = {name: found[output] for name, output in self.state.items()}
