"""The training-step graph that onnxsim makes of Conv4, for `benchmarks.export_speed --onnxsim FILE`.

pip install onnxsim==0.8.1 onnxscript, beside torch and this repository, in an environment of its own; then
python -m benchmarks.onnxsim_step conv4-25.onnx

onnxsim differentiates neither a cross-entropy nor a batch norm on the batch's own statistics, so both are
spelled in ops that it does differentiate, as its own documentation advises. Its step carries the parameters
and their momenta; the rate is an input.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import onnx
import onnxsim
import torch
from torch import Tensor, nn

from benchmarks.networks import NETWORKS, WAYS
from benchmarks.peers.onnxsim_graphs import as_onnxsim_takes_it


class Spelled(nn.Module):
    """Conv4 and its loss: images and one-hot labels in, a scalar out."""

    def __init__(self, conv4: nn.Module) -> None:
        super().__init__()
        self.net = conv4
        # As a number in the code it would arrive as a cast, which onnxsim does not differentiate.
        self.eps: Tensor
        self.register_buffer("eps", torch.tensor(1e-5))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for block in self.net.get_submodule("blocks").children():
            x = block.get_submodule("conv")(x)
            norm = block.get_submodule("norm")
            x = x - x.mean((0, 2, 3), keepdim=True)
            deviation = torch.sqrt((x * x).mean((0, 2, 3), keepdim=True) + self.eps)
            gain, shift = (p.reshape(1, -1, 1, 1) for p in norm.parameters())
            x = nn.functional.max_pool2d(torch.relu(x / deviation * gain + shift), 2)
        logits = self.net.get_submodule("head")(torch.flatten(x, 1))
        return -(torch.log(torch.softmax(logits, 1)) * y).sum(1).mean()


def step_graph(batch: int) -> onnx.ModelProto:
    """One step of momentum gradient descent, as onnxsim writes it."""
    network = NETWORKS["conv4"]
    example = {"x": torch.randn(batch, *network.shape), "y": torch.eye(WAYS)[torch.arange(batch) % WAYS]}
    module = Spelled(network.build())
    forward = onnxsim.export_torch_module_to_onnx(
        module, (example["x"], example["y"]), output_names=("loss",), opset_version=18
    )
    as_onnxsim_takes_it(forward)
    params = [name for name, _ in module.named_parameters()]
    loop = onnxsim.compile_training_loop(forward, "loss", params, optimizer="sgd_momentum")
    step = loop.step_graph
    model: onnx.ModelProto = step.model
    about = {"onnxsim": onnxsim.__version__, "batch": batch, "state": step.state}
    onnx.helper.set_model_props(model, {"step": json.dumps(about)})
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Write the graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--batch", type=int, default=25)
    args = parser.parse_args(argv)
    onnx.save(step_graph(args.batch), args.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
