"""Batch norm by the support set."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.learner import initial_params, make_learner
from regrow_trainer.norm import BatchNorm, adopt, support_rows
from regrow_trainer.rules.sgd import sgd


@pytest.fixture
def norm() -> BatchNorm:
    torch.manual_seed(1)
    made = BatchNorm(3)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 6)])
def test_support_rows_are_normalised_by_themselves(norm: BatchNorm, shape: tuple[int, ...]) -> None:
    support, query = torch.randn(shape), torch.randn(7, *shape[1:]) * 3 + 1
    with support_rows(4):
        both = norm(torch.cat([support, query]))
    assert torch.allclose(both[:4], norm(support), atol=1e-6)
    dims = (0, *range(2, len(shape)))
    mean, variance = support.mean(dims), support.var(dims, correction=0)
    expected = F.batch_norm(query, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)
    assert torch.allclose(both[4:], expected, atol=1e-5)


def test_outside_the_block_a_batch_has_its_own_statistics(norm: BatchNorm) -> None:
    x = torch.randn(6, 3, 4, 4)
    with support_rows(2):
        inside = norm(x)
    assert torch.equal(norm(x), F.batch_norm(x, None, None, norm.weight, norm.bias, True))
    assert not torch.allclose(inside, norm(x), atol=1e-2)


@pytest.mark.parametrize(("policy", "independent"), [("support", True), ("transductive", False)])
def test_under_support_a_query_does_not_see_its_neighbours(policy: str, independent: bool) -> None:
    torch.manual_seed(0)
    module = Conv4((1, 12, 12), 3, width=4, depth=2, downsample="stride")
    learner = make_learner(module, sgd(0.1), ("*",), 1, "cross_entropy", policy)
    params = initial_params(module)
    support, query = torch.rand(3, 1, 12, 12), torch.rand(5, 1, 12, 12)
    together = learner.query_outputs(params, support, query)
    alone = torch.cat([learner.query_outputs(params, support, q[None]) for q in query])
    assert torch.allclose(together, alone, atol=1e-5) is independent


def test_export_sees_one_batch_norm(norm: BatchNorm) -> None:
    x = torch.randn(4, 3, 5, 5)
    program = torch.export.export(norm, (x,), dynamic_shapes=({0: torch.export.Dim("B", min=2)},))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets == ["aten.batch_norm.default"]


def test_adopt_replaces_torch_layers_under_their_names() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    names = [n for n, _ in module.named_parameters()]
    x = torch.randn(4, 1, 6, 6)
    before = module(x)
    assert adopt(module) is module
    assert isinstance(module[1], BatchNorm)
    assert [n for n, _ in module.named_parameters()] == names
    assert torch.equal(module(x), before)


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (nn.BatchNorm2d(3), "track_running_stats=False"),
        (nn.BatchNorm2d(3, affine=False, track_running_stats=False), "affine=True"),
    ],
)
def test_adopt_refuses_what_belongs_to_no_episode(layer: nn.Module, word: str) -> None:
    with pytest.raises(UnsupportedError, match=word):
        adopt(nn.Sequential(nn.Conv2d(1, 3, 3), layer))
