"""CAVIA: the context is all that moves on a device, and all that does not move in the outer loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from torch import Tensor, nn

from regrow import checkpoint
from regrow.errors import RegrowError
from regrow_trainer.backbones.context import Film, empty_context, joined
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP
from regrow_trainer.strategies.second_order import second_order
from regrow_trainer.training import train
from tests.trainer.smooth import differences, gap, outer, smooth


class Guided(nn.Module):
    """Smooth, with a context at both kinds of entrance."""

    def __init__(self) -> None:
        super().__init__()
        self.context = empty_context(3)
        self.hidden = nn.Linear(4 + 3, 6)
        self.film = Film(3, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(joined(x, self.context))
        return self.head(torch.tanh(self.film(h, self.context)))


def test_the_meta_gradient_is_that_of_differences_and_no_weight_moves() -> None:
    learner, params, meta, task = smooth(2, ("context",), make=Guided)
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, 2)
    assert [n for n, p in params.items() if not torch.equal(adapted[n], p)] == ["context"]
    found = second_order(learner, params, meta, {}, task).params
    assert gap(found, differences(lambda p: outer(learner, p, meta, task), params)) < 1e-7


def test_with_a_rate_of_zero_it_is_plain_training() -> None:
    learner, params, _, task = smooth(2, ("context",), make=Guided)
    none = {"lr": torch.zeros((), dtype=torch.float64)}
    found = second_order(learner, params, none, {}, task)
    plain = second_order(smooth(0, make=Guided)[0], params, none, {}, task)
    assert gap(found.params, plain.params) < 1e-12


def test_the_outer_loop_leaves_a_held_parameter_at_zero(
    make_recipe: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["backbone.args.context=5", "learner.adaptable=['context']"]
    runs = {
        name: checkpoint.read(train(make_recipe("sine", *words, *more), tmp_path / name).last)
        for name, more in (("held", ["train.hold=['context']"]), ("free", []))
    }
    assert not runs["held"].params["context"].any()
    assert runs["free"].params["context"].any()
    start = MLP(hidden=(8, 8), context=5).state_dict()
    assert all(not np.array_equal(runs["held"].params[n], t) for n, t in start.items() if n != "context")


def test_a_pattern_that_holds_nothing_is_refused(make_recipe: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="'contxt' matches none"):
        train(make_recipe("sine", "train.hold=['contxt']"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_film_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in Film(100, 32).parameters()) == 6464
    net = Conv4((3, 84, 84), 5, 32, context=100)
    assert sum(p.numel() for n, p in net.named_parameters() if n != "context") == 32_901 + 6464


def test_film_comes_between_pooling_and_relu() -> None:
    net = Conv4((1, 4, 4), 2, width=2, depth=1, context=1, context_at=1)
    block, x = net.blocks[0], torch.rand(3, 1, 4, 4)
    with torch.no_grad():
        block.film.linear.weight.zero_()
        block.film.linear.bias.copy_(torch.tensor([-1.0, 2.0, 0.0, 0.5]))
        h = torch.nn.functional.max_pool2d(block.norm(block.conv(x)), 2)
        wanted = torch.relu(
            h * torch.tensor([-1.0, 2.0])[:, None, None] + torch.tensor([0, 0.5])[:, None, None]
        )
        assert torch.allclose(block(x, net.context), wanted)


def test_a_context_beyond_the_last_block_is_refused() -> None:
    with pytest.raises(RegrowError, match="a block from 1 to 2"):
        Conv4((1, 28, 28), depth=2, context=3)
