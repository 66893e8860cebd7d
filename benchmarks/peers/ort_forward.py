"""Stock onnxruntime, forward only, norms folded into the filters: a deployment without adaptation."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads


def imports() -> None:
    """The runtime alone."""
    import onnxruntime  # noqa: F401


class Forward:
    """Adapting does nothing."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads(), 1
        self.path = case.folder / "forward.onnx"
        self.session = onnxruntime.InferenceSession(str(self.path), settings, ["CPUExecutionProvider"])

    def reset(self) -> None:
        pass

    def adapt(self, steps: int) -> None:
        pass

    def predict(self, query: NDArray[Any]) -> NDArray[Any]:
        made: NDArray[Any] = self.session.run(["logits"], {"input": query})[0]
        return made

    def artifact_bytes(self) -> int:
        return self.path.stat().st_size


def make(case: Case) -> None:
    """The file, ahead of time."""
    from onnx import save

    from benchmarks.peers.onnx_graph import build

    save(build(case, "folded"), str(case.folder / "forward.onnx"))


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Forward), make=make))
