"""Run a standalone graph on stock onnxruntime, fed by program names. For verification only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray


class OnnxGraph:
    """One session; `run` picks the inputs the graph asks for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # defaults on inputs are meant, not a mistake to warn about
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        self._inputs = [i.name for i in inputs]
        self._outputs = [o.name for o in self._session.get_outputs()]

    def run(self, env: Mapping[str, NDArray[Any]], **extra: int) -> dict[str, NDArray[Any]]:
        """Outputs by name; what `env` leaves out, such as `param:<name>`, takes the graph's default."""
        known = {**env, **{k: np.asarray(v, np.int64) for k, v in extra.items()}}
        feeds = {name: known[name] for name in self._inputs if name in known}
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
