"""One op between a parameter and a linear head: gradients against torch in fp64, the engine against them."""

import numpy as np
import torch
from torch import nn

from regrow import reference
from regrow_exporter import deviation, verify
from regrow_exporter.capture import labelled
from regrow_exporter.drafting import environment
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_single
from regrow_exporter.programs import Learner, build
from regrow_trainer.rules.sgd import sgd

# What the engine may lose of a gradient and of a share of all of them: one that is zero by the nature of its
# network, before a norm, is rounding noise in any precision.
ENGINE_LIMIT, ENGINE_SHARE = 1e-4, 0.1


class Probe(nn.Module):
    """Adds a parameter to the input, runs the op under test, and mixes its outputs into logits."""

    def __init__(self, op, shape, x):
        super().__init__()
        torch.manual_seed(1)
        self.op = op
        self.shift = nn.Parameter(torch.zeros(1, *shape))
        with torch.no_grad():
            width = op(x).flatten(1).shape[1]
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.op(x + self.shift).flatten(1))


def agrees(op, x):
    """Loss and gradients equal torch's on exactly these samples, and the engine's in fp32 on any number."""
    programs, env = exact(op, x)
    emits(programs.gradient, env, x)
    return programs


def exact(op, x, loss="cross_entropy", loss_args=None):
    """Loss and gradients equal torch's in fp64; the programs, and what they read."""
    module = Probe(op, x.shape[1:], x)
    names = tuple(n for n, _ in module.named_parameters())
    rule = sgd(0.1)
    learner = Learner(module, tuple(x.shape[1:]), names, rule, rule.meta({}), loss, {}, loss_args or {})
    programs = build(learner)
    env = environment(learner, programs)
    y = np.arange(len(x)) % 3 if labelled(loss) else np.eye(3, dtype=np.float32)[np.arange(len(x)) % 3]
    truth = verify.oracle(learner, x.numpy(), y, 1, torch.float64)
    found = reference.run(programs.gradient, {**env, "x": x.numpy(), "y": y})
    errors = deviation.errors({n: found[f"grad:{n}"] for n in names}, truth.grads, deviation.SHARE)
    assert abs(float(found["loss"]) - truth.loss) < 1e-12
    assert max(errors.values()) < deviation.GRAPH_LIMIT, errors
    return programs, env


def emits(program, env, x):
    """The ONNX graph of a program computes what its reference does, whatever the batch."""
    graph = OnnxGraph(write_single(program, env, "gradient"))
    generator = torch.Generator().manual_seed(2)
    for batch in (1, 5, 25):
        # Samples like the given ones, none of them equal.
        picked = x[torch.arange(batch) % len(x)]
        samples = picked + 0.1 * torch.randn(picked.shape, generator=generator)
        full = {**env, "x": samples.numpy(), "y": np.arange(batch) % 3}
        found, exact = graph.run(full), reference.run(program, full)
        errors = deviation.errors(found, exact, ENGINE_SHARE)
        assert max(errors.values()) < ENGINE_LIMIT, (batch, errors)
