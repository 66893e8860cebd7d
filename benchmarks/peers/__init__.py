"""Every peer of the benchmark: how it is started, and what its users should know of it.

A peer is one file with the same small interface (`serving`), run in an environment of its own. One that
cannot be installed, does not cover a case or computes something else is reported as such.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.setup_peers import python
from regrow.cli.command import importable

MAIN = "regrow"  # the environment this runs in: the project's own


@dataclass(frozen=True)
class Entry:
    """One row of the tables."""

    name: str
    module: str
    environment: str = MAIN
    options: tuple[str, ...] = ()
    maker: str | None = None  # the environment that makes its files ahead of time, where that is another
    keeps_masks: bool = True  # whether pruned weights can stay zero; where not, it runs the dense network
    forward_only: bool = False  # predicts and does not adapt: the floor that users know
    note: str = ""
    needs: tuple[str, ...] = ()  # in the project's own environment: the packages a device has to have

    def interpreter(self) -> Path | None:
        """What runs it; None where its environment is not there."""
        return _interpreter(self.environment)

    def making(self) -> Path | None:
        """What makes its files ahead of time."""
        return _interpreter(self.maker or self.environment)


# What the project's own environment holds as well, so that some peers run without any set-up.
_HERE_TOO = {"torch": "torch", "onnxruntime": "onnxruntime"}


def _interpreter(environment: str) -> Path | None:
    found = None if environment == MAIN else python(environment)
    here = environment == MAIN or importable(_HERE_TOO.get(environment, "regrow_nothing"))
    return found or (Path(sys.executable) if here else None)


PEERS = (
    Entry(
        "regrow native",
        "regrow_engine",
        options=("native",),
        needs=("numpy",),
        note="the C core: one thread, however many there are",
    ),
    Entry(
        "regrow onnx",
        "regrow_engine",
        options=("onnx",),
        needs=("numpy", "onnxruntime", "flatbuffers", "protobuf"),
    ),
    Entry("PyTorch eager", "torch_eager", "torch", note="module, backward, torch.optim.SGD"),
    Entry(
        "PyTorch tuned",
        "torch_eager",
        "torch",
        ("tuned",),
        note="channels last, autograd.grad, one fused update",
    ),
    Entry(
        "PyTorch cached",
        "torch_eager",
        "torch",
        ("tuned", "cached"),
        note="tuned, with the features before the first adaptable layer computed once",
    ),
    Entry("torch.compile", "torch_compile", "torch", ("tuned",), note="one compiled graph per step"),
    Entry("higher", "higher_loop", "torch", keeps_masks=False, note="the classic library for MAML in torch"),
    Entry("JAX jit", "jax_jit", "jax", note="one jitted step, channels last"),
    Entry(
        "onnxruntime-training",
        "ort_training",
        "ort-training",
        keeps_masks=False,
        note="1.19.2, the last one published",
    ),
    Entry(
        "onnxsim on onnxruntime",
        "onnxsim_loop",
        "onnxruntime",
        maker="onnxsim",
        keeps_masks=False,
        note="its own training loop; norms spelled in ops that it differentiates",
    ),
    Entry("MNN", "mnn_train", "mnn", keeps_masks=False, note="its Python training interface"),
    Entry(
        "LiteRT",
        "litert_train",
        "litert",
        maker="tensorflow",
        note="signatures; gradients written by hand, since its converter derives none of a convolution",
    ),
    Entry("ExecuTorch", "executorch_train", "executorch", note="training module; portable kernels"),
    Entry(
        "onnxruntime forward",
        "ort_forward",
        "onnxruntime",
        forward_only=True,
        note="predicts only, frozen norms folded: the floor",
    ),
)
