"""MMSUP: exactly the largest weights count, the share has the stated derivative, all of them is MAML."""

from functools import partial
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from regrow.errors import UnsupportedError
from regrow_trainer.backbones.supermask import kept, mask_layers, supermask
from regrow_trainer.strategies.second_order import second_order
from tests.trainer.smooth import Tanh, gap, smooth


@pytest.mark.parametrize("keep", [-3.0, -0.5, 0.0, 0.4, 50.0])
def test_exactly_the_largest_entries_count_and_ties_go_by_position(keep: float) -> None:
    weight = torch.tensor([[1.0, -3.0, 0.5, 2.0], [-2.0, 0.1, -1.0, 1.0]])
    found = kept(weight, torch.tensor(keep))
    count = int(torch.sigmoid(torch.tensor(keep)) * 8)
    by_size = [1, 3, 4, 0, 6, 7, 2, 5]
    assert set(found.flatten().nonzero().flatten().tolist()) == set(by_size[:count])
    chosen = found != 0
    assert torch.equal(found[chosen], weight[chosen])


def test_a_larger_share_keeps_what_a_smaller_one_kept() -> None:
    weight = torch.randn(20, 5)
    kept_sets = [kept(weight, torch.tensor(k)) != 0 for k in (-2.0, -1.0, 0.0, 1.0)]
    assert all(bool((small <= large).all()) for small, large in pairwise(kept_sets))


@pytest.mark.parametrize("revive", [False, True])
def test_gradients_are_the_surrogates(revive: bool) -> None:
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    keep = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 4, dtype=torch.float64)
    found = kept(weight, keep, revive)
    by_weight, by_keep = torch.autograd.grad((found * slope).sum(), [weight, keep])
    mask = (found != 0).double()
    torch.testing.assert_close(by_weight, slope if revive else slope * mask)
    share = torch.sigmoid(keep.detach())
    torch.testing.assert_close(by_keep, (slope * weight.detach()).mean() * share * (1 - share))


def test_keeping_everything_is_maml() -> None:
    plain, params, meta, task = smooth(3)
    masked, under, _, _ = smooth(3, make=lambda: mask_layers(Tanh()))
    under = {n: torch.full_like(t, 50.0) if n.endswith("keep") else params[n] for n, t in under.items()}
    adapted = masked.adapt(under, meta, {}, task.support_x, task.support_y, 3)
    wanted = plain.adapt(params, meta, {}, task.support_x, task.support_y, 3)
    assert all(torch.equal(adapted[n], t) for n, t in wanted.items())
    found = second_order(masked, under, meta, {}, task).params
    assert gap({n: found[n] for n in params}, second_order(plain, params, meta, {}, task).params) < 1e-12


def test_masks_move_with_the_weights_and_the_share_adapts() -> None:
    learner, params, meta, task = smooth(3, make=lambda: mask_layers(Tanh()))
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, 3)
    assert all(float(adapted[n]) != float(params[n]) for n in params if n.endswith("keep"))
    masks = [kept(p["hidden.weight"], p["hidden.keep"]) != 0 for p in (params, adapted)]
    assert int(masks[0].sum()) == 12


def test_any_layer_keeps_its_names_and_what_it_computes() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(2, 3, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(12, 2, bias=False))
    x = torch.rand(4, 2, 8)
    wanted, names = plain(x), {n for n, _ in plain.named_parameters()}
    masked = mask_layers(plain)
    assert {n for n, _ in masked.named_parameters()} == names | {"0.keep", "2.keep"}
    with torch.no_grad():
        for layer in (masked[0], masked[2]):
            layer.keep.fill_(50.0)
    assert torch.equal(masked(x), wanted)


@pytest.mark.parametrize(
    ("args", "words"), [({"backbone": "os:system"}, "mask_layers"), ({"keep": 1.0}, "between")]
)
def test_what_a_supermask_cannot_be(args: dict[str, object], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        partial(supermask, (1, 28, 28), 5)(**args)
