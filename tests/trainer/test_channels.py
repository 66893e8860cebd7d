"""Whole channels: what goes belongs together, what stays computes what the masked network computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("torch_pruning")

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.errors import UnsupportedError
from regrow_trainer import backbones
from regrow_trainer.backbones.supermask import mask_layers
from regrow_trainer.build import rebuild
from regrow_trainer.channels import (
    as_masks,
    channel_groups,
    channel_scores,
    choose,
    cut,
    removed_share,
    silenced,
)
from regrow_trainer.learner import initial_params
from regrow_trainer.pruners import prunable
from regrow_trainer.recipe import Prune
from regrow_trainer.structured import narrowed
from regrow_trainer.tensors import Tensors, to_tensors
from regrow_trainer.training import train

Make = Callable[..., Any]
NETWORKS: dict[str, tuple[str, tuple[int, ...], int, dict[str, Any]]] = {
    "conv4 pool": ("conv4", (1, 28, 28), 5, {"width": 6, "depth": 3}),
    "conv4 stride": ("conv4", (1, 28, 28), 5, {"width": 6, "depth": 3, "downsample": "stride"}),
    "conv1d": ("conv1d", (3, 64), 4, {"width": 8}),
    "mlp": ("mlp", (7,), 2, {"hidden": [9, 8]}),
    "resnet12": ("resnet12", (3, 16, 16), 5, {"widths": [4, 6]}),
    "resnet20": ("resnet20", (3, 8, 8), 4, {"widths": [4, 6, 8], "depth": 2}),
}


def built(name: str) -> tuple[str, dict[str, Any], torch.nn.Module, tuple[int, ...]]:
    short, shape, outputs, args = NETWORKS[name]
    path, filled = backbones.define(short, args, shape, outputs)
    return short, args, backbones.build(path, filled, 0), shape


def random_params(module: torch.nn.Module) -> Tensors:
    """So that scales, shifts and biases matter."""
    torch.manual_seed(1)
    return {n: p + 0.3 * torch.randn_like(p) for n, p in initial_params(module).items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_smaller_network_is_the_masked_one(name: str, scope: Any) -> None:
    short, args, module, shape = built(name)
    params = random_params(module)
    groups = channel_groups(module, shape)
    weights = {n: params[n] for n in prunable(params)}
    scores = {n: w.abs() for n, w in weights.items()}
    kept = choose(groups, channel_scores(groups, scores), weights, 0.5, scope)
    assert 0.5 <= removed_share(groups, kept, weights) < 0.75
    smaller = cut(groups, kept, params)
    shapes = {n: list(p.shape) for n, p in smaller.items() if p.shape != params[n].shape}
    definition = backbones.define("narrow", {"backbone": short, "args": args, "shapes": shapes}, shape, 5)
    _, _, outputs, _ = NETWORKS[name]
    definition[1]["outputs"] = outputs
    narrow = backbones.build(*definition, 0)
    assert {n: p.shape for n, p in narrow.named_parameters()} == {n: p.shape for n, p in smaller.items()}
    x = torch.rand(4, *shape)
    found = torch.func.functional_call(narrow, smaller, (x,))
    wanted = torch.func.functional_call(module, silenced(groups, kept, params), (x,))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_but_the_classes_is_in_a_group_and_shares_are_equal(name: str) -> None:
    _, _, module, shape = built(name)
    params = random_params(module)
    groups = channel_groups(module, shape)
    made = {m.name for g in groups for m in g.members if m.dim == 0}
    assert {n for n in prunable(params)} <= made
    weights = {n: params[n] for n in prunable(params)}
    kept = choose(groups, [torch.arange(g.size) for g in groups], weights, 0.6, "layer")
    shares = [float((~stay).double().mean()) for stay in kept]
    assert all(abs(a - b) <= max(1 / g.size for g in groups) + 1e-9 for a in shares for b in shares)
    # The lowest go, and only those.
    assert all(bool(stay.int().diff().ge(0).all()) for stay in kept)


def test_as_few_channels_as_will_do() -> None:
    _, _, module, shape = built("mlp")
    params = random_params(module)
    groups = channel_groups(module, shape)
    weights = {n: params[n] for n in prunable(params)}
    worth = channel_scores(groups, {n: w.square() for n, w in weights.items()})
    for sparsity in (0.0, 0.2, 0.55, 0.9):
        kept = choose(groups, worth, weights, sparsity, "global")
        assert removed_share(groups, kept, weights) >= sparsity
        gone = [(float(worth[g][c]), g, int(c)) for g, k in enumerate(kept) for c in (~k).nonzero().flatten()]
        if gone:
            _, g, c = max(gone)
            kept[g][c] = True
            assert removed_share(groups, kept, weights) < sparsity


def test_scores_are_summed_over_who_makes_and_who_takes_a_channel() -> None:
    _, _, module, shape = built("mlp")
    params = initial_params(module)
    groups = channel_groups(module, shape)
    scores = {"layers.0.weight": torch.ones(9, 7), "layers.1.weight": torch.full((8, 9), 10.0)}
    scores["layers.1.weight"][:, 3] = 0
    first, second = channel_scores(groups, scores)
    assert first.tolist() == [87.0] * 3 + [7.0] + [87.0] * 5
    assert second.tolist() == [80.0] * 8
    masks = as_masks(groups, [first > 10, second > 0], {n: params[n] for n in scores})
    assert (~masks["layers.0.weight"]).nonzero().tolist() == [[3, i] for i in range(7)]
    assert (~masks["layers.1.weight"]).nonzero().tolist() == [[i, 3] for i in range(8)]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    from regrow_trainer.recipe import parse_recipe
    from tests.trainer.conftest import GLYPHS

    overrides = ["rule.name=meta_sgd", "train.rule_lr=0.01", "train.iterations=2"]
    run = train(parse_recipe(GLYPHS, "tiny", overrides), tmp_path_factory.mktemp("dense"))
    return checkpoint.read(run.best)


@pytest.mark.parametrize("method", ["magnitude", "taylor", "anp"])
def test_what_comes_of_it_trains_resumes_and_evaluates(
    dense: Checkpoint, tmp_path: Path, method: str
) -> None:
    from regrow_trainer.recipe import parse_recipe

    small = narrowed(dense, Prune(pruner=method, sparsity=0.6), "dense", workers=1)
    assert small.backbone["path"] == "regrow_trainer.backbones.narrow:narrow"
    assert all(
        small.meta[f"rate.{n}"].shape == p.shape for n, p in small.params.items() if n.startswith("blocks")
    )
    assert sum(p.size for p in small.params.values()) < 0.6 * sum(p.size for p in dense.params.values())
    recipe = parse_recipe(small.recipe, "small", ["train.iterations=2"])
    run = train(recipe, tmp_path / "run", start=small)
    made = checkpoint.read(run.best)
    assert made.provenance["origin"]["channels"]["sparsity"] >= 0.6
    assert {n: p.shape for n, p in made.params.items()} == {n: p.shape for n, p in small.params.items()}
    assert train(recipe, tmp_path / "run", resume=True) == run
    again = narrowed(made, Prune(sparsity=0.3), "made", workers=1)
    learner = rebuild(again, "again").learner
    x = torch.rand(3, 1, 28, 28)
    adapted = learner.adapt(to_tensors(again.params), to_tensors(again.meta), {}, x, torch.arange(3), 1)
    assert all(np.isfinite(t.numpy()).all() for t in adapted.values())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"sparsity": 0.5, "schedule": "iterative:0.1"}, "expected oneshot"),
        ({"sparsity": 0.5, "rewind": True}, "rewind True"),
        ({"sparsity": 0.999}, "with all channels but one"),
    ],
)
def test_what_channels_cannot_do(dense: Checkpoint, plan: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        narrowed(dense, Prune(**plan), "dense", workers=1)


def test_a_network_that_the_trace_misreads_is_refused(make_recipe: Make, tmp_path: Path) -> None:
    film = "backbone.args={width=6, depth=3, context=4, context_at=2}"
    recipe = make_recipe("glyphs", film, "learner.adaptable=['context']", "train.iterations=0")
    made = checkpoint.read(train(recipe, tmp_path / "run").best)
    # At first all contexts are zero, and so is what would tell.
    weight = "blocks.1.film.linear.bias"
    made.params[weight] = np.linspace(0.5, 2, made.params[weight].size, dtype=np.float32)
    with pytest.raises(UnsupportedError, match="told apart wrongly"):
        narrowed(made, Prune(sparsity=0.5), "made", workers=1)


def test_masked_layers_and_groups_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="convolves in 2 groups"):
        channel_groups(
            torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.Conv2d(4, 2, 1)), (4, 8, 8)
        )
    _, _, module, shape = built("mlp")
    with pytest.raises(UnsupportedError, match="no layer whose channels"):
        channel_groups(mask_layers(module), shape)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [({"layers.0.weight": [99, 7]}, "at least that large"), ({"layers.9.weight": [1, 1]}, "no parameter")],
)
def test_a_shape_that_does_not_fit_is_refused(shapes: dict[str, list[int]], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        backbones.build(*backbones.define("narrow", {"backbone": "mlp", "shapes": shapes}, (7,), 2), 0)


def test_only_backbones_of_the_table_are_narrowed() -> None:
    with pytest.raises(UnsupportedError, match="expected one of"):
        backbones.build(*backbones.define("narrow", {"backbone": "os:system", "shapes": {}}, (7,), 2), 0)
