"""Masks: exact counts, nested rounds, the classifier spared."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from regrow.errors import UnsupportedError
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.learner import initial_params
from regrow_trainer.pruners import PRUNERS, Evidence, Scope, prunable, pruner
from regrow_trainer.pruners.masks import make_masks
from regrow_trainer.tensors import Tensors, zero


def evidence(params: Tensors, masks: Tensors | None = None) -> Evidence:
    """Gradients are as large as the parameter's index in its tensor; nothing else may be asked for."""

    def gradients(function: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
        return {n: function(-torch.arange(p.numel()).view_as(p).double()) for n, p in params.items()}

    def never(asked: object) -> Any:
        raise AssertionError("not asked for")

    return Evidence(params, prunable(params), masks or {}, 0, gradients, never, lambda: never(None))


def masks_by(name: str, params: Tensors, masks: Tensors, sparsity: float, scope: Scope) -> Tensors:
    return make_masks(pruner(name)(evidence(params, masks)).scores, masks, sparsity, scope)


@pytest.fixture
def params() -> Tensors:
    torch.manual_seed(0)
    return initial_params(Conv4((1, 28, 28), 5, width=7, depth=3))


def test_only_weights_before_the_classifier_are_prunable(params: Tensors) -> None:
    assert prunable(params) == tuple(f"blocks.{i}.conv.weight" for i in range(3))


def test_what_is_spared_stays_whole(params: Tensors) -> None:
    assert prunable(params, ["blocks.0.*"]) == tuple(f"blocks.{i}.conv.weight" for i in (1, 2))
    with pytest.raises(UnsupportedError, match="spare less"):
        prunable(params, ["blocks.*"])
    with pytest.raises(UnsupportedError, match=r"block\.0"):
        prunable(params, ["block.0.*"])


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_no_layer_loses_its_best_weight(params: Tensors, scope: Scope) -> None:
    """Or the network neither learns nor exports; weights so small fall first where all compete."""
    params["blocks.0.conv.weight"] *= 1e-6
    scores = {name: params[name].abs() for name in prunable(params)}
    for name, mask in make_masks(scores, {}, 0.9999, scope).items():
        assert int(mask.sum()) == 1, name
        assert scores[name][mask] == scores[name].max(), name


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.85, 0.999])
def test_counts_are_exact_in_every_layer(params: Tensors, sparsity: float) -> None:
    for name, mask in masks_by("magnitude", params, {}, sparsity, "layer").items():
        assert int((~mask).sum()) == min(int(sparsity * mask.numel() + 0.5), mask.numel() - 1), name
        scores = torch.cat([params[name][~mask].abs(), params[name][mask].abs()])
        assert torch.equal(scores[: int((~mask).sum())].sort()[0], scores.sort()[0][: int((~mask).sum())])


def test_a_global_count_is_exact_and_weights_compete_across_layers(params: Tensors) -> None:
    params["blocks.1.conv.weight"] *= 0.001
    masks = masks_by("magnitude", params, {}, 0.4, "global")
    size = sum(m.numel() for m in masks.values())
    assert sum(int((~m).sum()) for m in masks.values()) == int(0.4 * size + 0.5)
    assert float(masks["blocks.1.conv.weight"].float().mean()) < 0.2
    assert float(masks["blocks.2.conv.weight"].float().mean()) > 0.8


def test_ties_fall_by_index(params: Tensors) -> None:
    equal = {n: torch.ones_like(p) for n, p in params.items()}
    for mask in masks_by("magnitude", equal, {}, 0.5, "layer").values():
        gone = int(0.5 * mask.numel() + 0.5)
        assert not mask.flatten()[:gone].any()
        assert mask.flatten()[gone:].all()


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_rounds_are_nested_even_when_survivors_become_zero(params: Tensors, scope: str) -> None:
    masks: Tensors = {}
    for sparsity in (0.2, 0.4, 0.6):
        before = masks
        masks = masks_by("magnitude", params, masks, sparsity, scope)
        assert all(not (masks[n] & ~before[n]).any() for n in before)
        # Exact zeros tie with what was pruned; a kept one must not come back for it.
        params = {n: torch.zeros_like(p) for n, p in zero(masks, params).items()}


def test_nothing_to_prune_is_said() -> None:
    with pytest.raises(UnsupportedError, match="two or more dimensions"):
        masks_by("magnitude", {"head.weight": torch.ones(3, 2), "head.bias": torch.ones(3)}, {}, 0.5, "layer")


def test_an_unknown_pruner_names_the_nearest(params: Tensors) -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'magnitude'"):
        masks_by("magnitud", params, {}, 0.5, "layer")


def test_scores_by_hand() -> None:
    weights = {"a": torch.tensor([[3.0, -1.0], [0.0, 2.0]]), "b": torch.tensor([[0.0, 0.0]])}
    slopes = {"a": torch.tensor([[1.0, -4.0], [9.0, 0.0]]), "b": torch.tensor([[1.0, 1.0]])}
    found = replace(
        evidence({**weights, "head.weight": torch.ones(2, 2)}),
        gradients=lambda f: {n: f(g) for n, g in slopes.items()},
    )
    assert pruner("magnitude")(found).scores["a"].tolist() == [[3, 1], [0, 2]]
    assert pruner("fisher")(found).scores["a"].tolist() == [[9, 4], [0, 0]]
    assert pruner("taylor")(found).scores["a"].tolist() == [[3, 4], [0, 0]]
    # 9 / 9, 1 / (9 + 4 + 1), 0, 4 / (9 + 4)
    lamp = pruner("lamp")(found).scores
    assert lamp["a"].flatten().tolist() == pytest.approx([1, 1 / 14, 0, 4 / 13])
    assert lamp["b"].tolist() == [[0, 0]]


def test_chance_follows_the_seed_and_nothing_else(params: Tensors) -> None:
    first, again = (pruner("random")(evidence(params)).scores for _ in range(2))
    other = pruner("random")(replace(evidence(params), seed=1)).scores
    assert all(torch.equal(first[n], again[n]) and not torch.equal(first[n], other[n]) for n in first)


def test_gradients_are_only_computed_for_who_asks(params: Tensors) -> None:
    def never(function: object) -> Tensors:
        raise AssertionError("not asked for")

    blind = replace(evidence(params), gradients=never)
    assert set(pruner("magnitude")(blind).scores) == set(prunable(params))
    with pytest.raises(AssertionError, match="not asked for"):
        pruner("fisher")(blind)


def test_masks_on_other_tensors_go_on(params: Tensors) -> None:
    head = {"head.weight": torch.rand_like(params["head.weight"]) > 0.5}
    made = masks_by("magnitude", params, head, 0.5, "layer")
    assert torch.equal(made["head.weight"], head["head.weight"])
    assert set(made) == {*prunable(params), "head.weight"}


def test_what_makes_scales_of_a_context_is_spared() -> None:
    module = Conv4((1, 28, 28), 5, width=4, context=3)
    assert prunable(initial_params(module)) == tuple(f"blocks.{i}.conv.weight" for i in range(4))


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_an_argument_a_pruner_does_not_take_is_named(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"pruner: {name}: found depth; expected arguments"):
        pruner(name, {"depth": 1})
