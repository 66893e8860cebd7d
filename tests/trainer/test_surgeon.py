"""L-OBS and ANP on networks: the curvature is that of the inputs after adaptation, averaged over tasks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.errors import UnsupportedError
from regrow_trainer import metrics
from regrow_trainer.batching import Workers
from regrow_trainer.build import Built, build, open_data
from regrow_trainer.columns import layer_of, query_columns
from regrow_trainer.evidence import Seen, evidence
from regrow_trainer.feed import EVIDENCE, draw, stream_seed
from regrow_trainer.learner import Task
from regrow_trainer.pruners import Judgement, pruner
from regrow_trainer.pruners.masks import make_masks
from regrow_trainer.ranks import ALONE
from regrow_trainer.state import State
from regrow_trainer.tensors import Tensors
from regrow_trainer.training import train

Make = Callable[..., Any]


def judge(built: Built, state: State, name: str, workers: int = 1, **args: Any) -> Judgement:
    with Workers(built.learner, "auto", workers) as pool:
        return pruner(name, args)(evidence(built, state, pool, ALONE))


def seen(built: Built, state: State, name: str, **args: Any) -> Seen:
    repaired = judge(built, state, name, **args).repaired
    return repaired.func.__self__  # type: ignore[union-attr]


def gap(a: Tensors, b: Tensors) -> float:
    return max(float((a[n] - b[n]).abs().max() / b[n].abs().max().clamp(min=1e-30)) for n in b)


def tasks(built: Built, count: int) -> Task:
    recipe = built.recipe
    source, seed = open_data(recipe, recipe.data.train), stream_seed(recipe.seed, EVIDENCE)
    return draw(source, recipe.data, recipe.input, recipe.data.queries, seed, 0, count)


@pytest.mark.parametrize("data", ["glyphs", "sine"])
def test_one_task_and_no_inner_rate_make_anp_l_obs(make_recipe: Make, data: str) -> None:
    still, moving = (build(make_recipe(data, f"rule.args.lr={rate}")) for rate in (0.0, 0.4))
    published = judge(still, still.start(), "l-obs")
    same = judge(still, still.start(), "anp", tasks=1)
    assert all(torch.equal(same.scores[n], s) for n, s in published.scores.items())
    adapted = judge(moving, moving.start(), "anp", tasks=1)
    assert gap(adapted.scores, published.scores) > 1e-3
    masks = make_masks(published.scores, {}, 0.5, "layer")
    assert published.repaired is not None
    assert same.repaired is not None
    one, other = published.repaired(masks), same.repaired(masks)
    assert all(torch.equal(other[n], t) for n, t in one.items())


@pytest.mark.parametrize("name", ["anp", "l-obs"])
def test_the_recursion_over_tasks_is_the_inverse(make_recipe: Make, name: str) -> None:
    built = build(make_recipe("glyphs"))
    state = built.start()
    direct = judge(built, state, name, tasks=5, alpha=1e-3)
    recursive = judge(built, state, name, tasks=5, alpha=1e-3, recursive=True)
    assert gap(recursive.scores, direct.scores) < 1e-8
    masks = make_masks(direct.scores, {}, 0.7, "layer")
    assert direct.repaired is not None
    assert recursive.repaired is not None
    assert gap(recursive.repaired(masks), direct.repaired(masks)) < 1e-5


def test_the_curvature_is_that_of_adapted_queries_of_all_tasks(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs"))
    state, learner = built.start(), built.learner
    layer = layer_of(learner.module, "blocks.1.conv.weight")
    blocks = []
    for parts in zip(*tasks(built, 3), strict=True):
        task = Task(*parts)
        adapted = learner.adapt(state.params, state.meta, {}, task.support_x, task.support_y, 1)
        blocks.append(query_columns(learner, adapted, task, [layer], 10**6)[layer.weight][0].double())
    z = torch.cat(blocks)
    found = seen(built, state, "anp", tasks=3, alpha=0.01).curvatures[layer.weight][0].matrix
    wanted = z.T @ z / len(z) + 0.01 * torch.eye(layer.width)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_reptile_looks_along_the_whole_way(make_recipe: Make) -> None:
    last, way = (
        build(make_recipe("sine", f"train.strategy={strategy}", "learner.steps=3"))
        for strategy in ("second_order", "reptile")
    )
    (task,) = (Task(*parts) for parts in zip(*tasks(way, 1), strict=True))
    learner, state = way.learner, way.start()
    layer = layer_of(learner.module, "layers.1.weight")
    path = learner.path(state.params, state.meta, {}, task.support_x, task.support_y, 3)
    z = [query_columns(learner, p, task, [layer], 100)[layer.weight][0].double() for p in path]
    for built, points in ((way, z[1:]), (last, z[-1:])):
        inputs = torch.cat(points)
        wanted = inputs.T @ inputs / len(inputs) + 1e-6 * torch.eye(layer.width)
        found = seen(built, state, "anp", tasks=1).curvatures[layer.weight][0].matrix
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_cavia_is_judged_by_its_shared_weights_only(make_recipe: Make) -> None:
    recipe = make_recipe(
        "glyphs", "backbone.args.context=4", "learner.adaptable=['context']", "train.hold=['context']"
    )
    built = build(recipe)
    found = judge(built, built.start(), "anp", tasks=2)
    assert set(found.scores) == {f"blocks.{i}.conv.weight" for i in range(3)}


def test_repairing_beats_removing_on_the_queries(make_recipe: Make) -> None:
    """The very quantity that the repair minimises, on tasks the curvature was made from."""
    built = build(make_recipe("glyphs"))
    state, learner = built.start(), built.learner
    found = judge(built, state, "anp", tasks=6)
    masks = make_masks(found.scores, {}, 0.5, "layer")
    assert found.repaired is not None
    repaired = found.repaired(masks)
    name = "blocks.1.conv.weight"
    layer = layer_of(learner.module, name)
    errors = {"removed": 0.0, "repaired": 0.0}
    for parts in zip(*tasks(built, 6), strict=True):
        task = Task(*parts)
        adapted = learner.adapt(state.params, state.meta, {}, task.support_x, task.support_y, 1)
        z = query_columns(learner, adapted, task, [layer], 10**6)[name][0]
        before = state.params[name].flatten(1)
        for key, changed in (("removed", before * masks[name].flatten(1)), ("repaired", repaired[name])):
            outputs = z[:, :-1] @ (changed.flatten(1) - before).T
            # The norm behind takes away the mean.
            errors[key] += float(outputs.var(0).mean())
    assert not repaired[name][~masks[name]].any()
    assert errors["repaired"] < 0.7 * errors["removed"]
    assert set(repaired) == set(masks)


def test_threads_do_not_change_a_bit(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs"))
    one, three = (judge(built, built.start(), "anp", workers, tasks=7) for workers in (1, 3))
    assert all(torch.equal(three.scores[n], s) for n, s in one.scores.items())


def test_the_state_is_what_it_says(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs"))
    # 9 inputs and a constant, then twice 6 x 9 inputs and a constant, in double precision.
    assert judge(built, built.start(), "anp", tasks=2).held == 8 * (10**2 + 2 * 55**2)
    # In blocks of 3 channels each has a constant of its own.
    assert judge(built, built.start(), "anp", tasks=2, block=27).held == 8 * (10**2 + 4 * 28**2)


def test_blocks_judge_nearly_as_the_whole_and_one_block_is_the_whole(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs"))
    state = built.start()
    every, one, halves = (judge(built, state, "anp", tasks=8, block=block) for block in (0, 54, 27))
    assert all(torch.equal(one.scores[n], s) for n, s in every.scores.items())
    name = "blocks.1.conv.weight"
    ranks = torch.stack([j.scores[name].flatten().argsort().argsort().double() for j in (every, halves)])
    assert 0.9 < float(torch.corrcoef(ranks)[0, 1]) < 1
    # Without the other half a weight has fewer that make up for it.
    assert (halves.scores[name] >= every.scores[name] * (1 - 1e-6)).all()


def test_a_spared_layer_is_neither_judged_nor_masked(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs", "prune={pruner='anp', sparsity=0.5, spare=['blocks.0.*']}"))
    found = judge(built, built.start(), "anp", tasks=2)
    assert set(found.scores) == {f"blocks.{i}.conv.weight" for i in (1, 2)}


def test_what_cannot_be_judged_is_said(make_recipe: Make) -> None:
    built = build(make_recipe("glyphs"))
    with pytest.raises(UnsupportedError, match="tasks 0"):
        judge(built, built.start(), "anp", tasks=0)
    masked = build(make_recipe("glyphs", "backbone.name=supermask", "backbone.args={}"))
    with pytest.raises(UnsupportedError, match=r"blocks.0.conv.weight belongs to a Masked, expected"):
        judge(masked, masked.start(), "anp")
    several = evidence(built, built.start(), None, replace(ALONE, world=2))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="recursive True in 2 processes"):
        pruner("anp", {"recursive": True})(several)


@pytest.mark.slow
def test_a_resnet_as_wide_as_few_shot_learning_uses_it_is_pruned_to_the_end(
    make_recipe: Make, tmp_path: Path
) -> None:
    """Last convolutions of 512 x 9 inputs: whole 170 MB each, in blocks of 1,152 columns a quarter of it."""
    recipe = make_recipe(
        "glyphs", "backbone={name='resnet12', args={widths=[8, 16, 32, 512]}}", "train.iterations=2",
        "validation.every=2", "train.tasks=1",
        "prune={pruner='anp', args={tasks=8, block=1152}, sparsity=0.85, schedule='iterative:0.5'}",
    )  # fmt: skip
    run = train(recipe, tmp_path / "run", workers=1)
    made, rounds = checkpoint.read(run.last), [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
    assert [r["sparsity"] for r in rounds] == [0.5, 0.85]
    wide = made.masks["blocks.3.convs.2.weight"]
    assert wide.shape == (512, 512, 3, 3)
    assert int(wide.sum()) == wide.size - round(0.85 * wide.size)
    assert not made.params["blocks.3.convs.2.weight"][~wide].any()
    assert all(np.isfinite(p).all() for p in made.params.values())
    # Two such layers of four blocks with a constant each; what else there is takes less than three megabytes.
    two = 2 * 4 * 8 * 1153**2
    assert two < rounds[0]["held_bytes"] < two + 3_000_000
