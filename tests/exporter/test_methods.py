"""Every method reaches the device: a session does, on each engine, what the learner's inner loop does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pydantic")

import regrow
from regrow import checkpoint, engines
from regrow.episodes import open_source, sample
from regrow_exporter.checkpoints import export_checkpoint
from regrow_trainer.build import rebuild
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.tensors import to_tensors
from regrow_trainer.training import train

GLYPHS = {
    "name": "tiny",
    "data": {
        **{"train": "glyphs:train", "validation": "glyphs:val", "test": "glyphs:test"},
        **{"args": {"classes": 8, "samples": 6}, "n_way": 3, "queries": 2},
    },
    "backbone": {"name": "conv4", "args": {"width": 4, "depth": 3, "downsample": "stride"}},
    "train": {"strategy": "second_order", "iterations": 2, "tasks": 2, "lr": 0.01, "rule_lr": 0.05},
    "validation": {"every": 2, "episodes": 2, "queries": 2},
    "learner": {"steps": 3},
}
SINE = {
    "name": "tiny",
    "data": {"train": "sine:train", "validation": "sine:val", "test": "sine:test", "n_way": 1, "k_shot": 5},
    "backbone": {"name": "mlp", "args": {"hidden": [8, 8]}},
    "train": GLYPHS["train"],
    "validation": GLYPHS["validation"],
    "learner": {"steps": 3, "loss": "mse", "batch_norm": "none"},
}
CAVIA = ["learner.adaptable=['context']", "train.hold=['context']", "rule={name='sgd', args={lr=1.0}}"]
SGD = ["rule={name='sgd', args={lr=0.1}}"]
METHODS = {
    "maml": (GLYPHS, SGD),
    "fomaml": (GLYPHS, [*SGD, "train.strategy=first_order"]),
    "foanil": (GLYPHS, [*SGD, "train.strategy=first_order", "learner.adaptable=['@head']"]),
    "meta_sgd": (GLYPHS, ["rule.name=meta_sgd", "rule.args.lr=0.1"]),
    "maml++": (GLYPHS, ["rule.name=step_rates", "rule.args.steps=3", "train.multi_step=2"]),
    "pamela": (GLYPHS, ["rule.name=pamela", "rule.args={lr=0.1, steps=4, w=2}", "learner.steps=5"]),
    "pamela, sine": (SINE, ["rule.name=pamela", "rule.args={steps=3, w=1, skip='literal'}"]),
    "bmp": (GLYPHS, ["rule.name=bmp", "rule.args.lr=0.1", "train.rule_lr=1.0"]),
    "anil": (GLYPHS, ["learner.adaptable=['@head']", "rule={name='sgd', args={lr=0.1}}"]),
    "cavia": (GLYPHS, ["backbone.args={width=4, depth=3, context=10, context_at=2}", *CAVIA]),
    "cavia, sine": (SINE, ["backbone.args.context=5", *CAVIA]),
    "mmsup": (
        GLYPHS,
        ["backbone={name='supermask', args={backbone='conv4', args={width=4, depth=3}}}", *SGD],
    ),
    "mmsup, sine": (SINE, ["backbone={name='supermask', args={backbone='mlp', keep=0.7}}", *SGD]),
    "reptile": (GLYPHS, ["train.strategy=reptile", "train.optimiser=sgd", "train.lr=1.0", "train.clip=0"]),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_session_is_the_learners_inner_loop(tmp_path, method):
    data, overrides = METHODS[method]
    run = train(parse_recipe(data, method, overrides), tmp_path / "run")
    path = export_checkpoint(run.best, tmp_path / "m.regrow").path
    saved = checkpoint.read(run.best)
    learner = rebuild(saved, method).learner
    episode = sample(open_source("glyphs:test", classes=8, samples=6), 3, 1, 2, 1, 0)
    if data is SINE:
        episode = sample(open_source("sine:test"), 1, 5, 4, 1, 0)
    params, meta = (
        {n: t.double() for n, t in to_tensors(group).items()} for group in (saved.params, saved.meta)
    )
    x = torch.from_numpy(episode.support_x).double()
    y = torch.from_numpy(episode.support_y)
    y = y.double() if y.is_floating_point() else y
    learner.module.double()
    adapted = learner.adapt(params, meta, {}, x, y, learner.steps)
    assert any(not torch.equal(adapted[n], params[n]) for n in learner.adaptable)
    logits = learner.query_outputs(adapted, x, torch.from_numpy(episode.query_x).double())
    for engine in engines.available():
        session = regrow.open(path, engine=engine).session()
        session.adapt(episode.support_x, episode.support_y)
        assert set(session.parameters) == set(learner.adaptable)
        for name, found in session.parameters.items():
            np.testing.assert_allclose(
                found, adapted[name], rtol=1e-4, atol=1e-5, err_msg=f"{engine}: {name}"
            )
        answered = session.predict(episode.query_x).logits
        np.testing.assert_allclose(answered, logits, rtol=1e-3, atol=1e-4, err_msg=engine)


def test_both_engines_are_here() -> None:
    """Or the test above holds a bundle to less than it says."""
    if engines.available() != ("native", "onnx"):
        pytest.skip(f"only {', '.join(engines.available())}; build the core or install onnxruntime")
