"""Learned optimisers on a device: their LSTM taken along, or the rates it settles at, frozen."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pydantic")

import regrow
from regrow import checkpoint
from regrow.cli import main
from regrow.engines import core
from regrow.episodes import open_source, sample
from regrow.errors import UnsupportedError
from regrow_exporter.checkpoints import FREEZING_SETS, export_checkpoint
from regrow_exporter.costs import rule_cost
from regrow_trainer.build import rebuild
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.rules.dmsgd import dmsgd
from regrow_trainer.rules.lstm import lstm_optimiser
from regrow_trainer.tensors import to_tensors
from regrow_trainer.training import train

STEPS = 3
DATA = {"classes": 8, "samples": 6}
RECIPE = {
    "name": "tiny",
    "data": {
        **{"train": "glyphs:train", "validation": "glyphs:val", "test": "glyphs:test"},
        **{"args": DATA, "n_way": 3, "k_shot": 2, "queries": 2},
    },
    "backbone": {"name": "mlp", "args": {"hidden": [6]}},
    "train": {"strategy": "unrolled", "iterations": 1, "tasks": 1, "rule_lr": 0.01},
    "validation": {"every": 1, "episodes": 1, "queries": 2},
    "learner": {"steps": STEPS, "batch_norm": "none"},
}
RULES = {
    "lstm_optimiser": "rule={name='lstm_optimiser', args={scale=0.1}}",
    "dmsgd": "rule={name='dmsgd', args={lr=0.05}}",
    "dmsgd, coordinate": "rule={name='dmsgd', args={lr=0.05, form='coordinate'}}",
    "m2sgd": "rule={name='m2sgd', args={lr=0.05, xi=0.2}}",
}
CONV4 = (
    "backbone={name='conv4', args={width=4, depth=2, downsample='stride'}}",
    "learner={steps=3, batch_norm='support'}",
    "train={strategy='first_order', iterations=1, tasks=1, rule_lr=0.01}",
)
FREEZABLE = [name for name in RULES if name != "lstm_optimiser"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of every rule, made when it is first asked for."""
    made = {}

    def get(name, *overrides):
        if (name, overrides) not in made:
            folder = tmp_path_factory.mktemp("run") / "run"
            run = train(parse_recipe(RECIPE, name, [RULES[name], *overrides]), folder, workers=1)
            made[name, overrides] = run.last
        return made[name, overrides]

    return get


def engines():
    return ["onnx", *(["native"] if core.PATH.exists() else [])]


def episode():
    return sample(open_source("glyphs:test", **DATA), 3, 2, 4, 1, 0)


def in_fp64(saved):
    """Learner, weights and the rule's tensors of a checkpoint."""
    learner = rebuild(saved, "tiny").learner
    learner.module.double()
    params, meta = (
        {n: t.double() for n, t in to_tensors(group).items()} for group in (saved.params, saved.meta)
    )
    return learner, params, meta


@pytest.mark.parametrize(("name", "how"), [*((name, ()) for name in RULES), ("m2sgd", CONV4)])
def test_a_session_with_the_lstm_is_the_learners_inner_loop(tmp_path, trained, name, how):
    path = export_checkpoint(trained(name, *how), tmp_path / "m.regrow", dynamic=name in FREEZABLE).path
    learner, params, meta = in_fp64(checkpoint.read(trained(name, *how)))
    drawn = episode()
    x, y = torch.from_numpy(drawn.support_x).double(), torch.from_numpy(drawn.support_y)
    adapted = learner.adapt(params, meta, {}, x, y, STEPS)
    for engine in engines():
        session = regrow.open(path, engine=engine).session()
        session.adapt(drawn.support_x, drawn.support_y)
        for parameter, found in session.parameters.items():
            np.testing.assert_allclose(found, adapted[parameter], rtol=1e-4, atol=1e-5, err_msg=engine)
    assert any(not torch.equal(adapted[n], params[n]) for n in learner.adaptable)


def settled(name, saved):
    """The rates at the last step, by the learner itself, of the support sets that freezing sees."""
    learner, params, meta = in_fp64(saved)
    found = []
    for index in range(FREEZING_SETS):
        drawn = sample(open_source("glyphs:val", **DATA), 3, 2, 1, 0, index)
        x, y = torch.from_numpy(drawn.support_x).double(), torch.from_numpy(drawn.support_y)
        moved, state = params, learner.initial_state(params, meta)
        for step in range(STEPS):
            grads = learner.gradients(moved, x, y)
            moved, state = learner.apply(moved, meta, {}, grads, state, step)
        found.append(learner.rule.freeze(state)[0])
    return {n: torch.stack([rates[n] for rates in found]).median(0).values for n in learner.adaptable}


@pytest.mark.parametrize(("name", "how"), [*((name, ()) for name in FREEZABLE), ("m2sgd", CONV4)])
def test_frozen_rates_are_the_median_and_a_session_is_meta_sgd_with_them(tmp_path, trained, name, how):
    path = export_checkpoint(trained(name, *how), tmp_path / "m.regrow").path
    saved = checkpoint.read(trained(name, *how))
    rates = settled(name, saved)
    xi = 0.2 if name == "m2sgd" else None
    learner, params, _ = in_fp64(saved)
    kept = {n: torch.ones_like(r, dtype=torch.bool) if xi is None else r > xi for n, r in rates.items()}
    drawn = episode()
    x, y = torch.from_numpy(drawn.support_x).double(), torch.from_numpy(drawn.support_y)
    wanted = {n: torch.where(kept[n], p, 0.0) for n, p in params.items()}
    for _ in range(STEPS):
        grads = learner.gradients(wanted, x, y)
        wanted = {n: torch.where(kept[n], p - rates[n] * grads[n], 0.0) for n, p in wanted.items()}
    for engine in engines():
        model = regrow.open(path, engine=engine)
        session = model.session()
        session.adapt(drawn.support_x, drawn.support_y)
        for n, found in session.parameters.items():
            np.testing.assert_allclose(found, wanted[n], rtol=1e-4, atol=1e-5, err_msg=f"{engine} {n}")
        assert model.manifest.rule.name == "meta_sgd"
        assert not model.manifest.state
    stated = model.manifest.provenance["frozen"]
    gone = sum(int((~k).sum()) for k in kept.values()) / sum(k.numel() for k in kept.values())
    assert stated["removed"] == pytest.approx(gone, abs=1e-3)
    assert (0.3 < gone < 1) == (xi is not None)
    still = [int((r == 0).sum()) / r.numel() for r in rates.values()]
    assert max(still) > 0 or name == "dmsgd, coordinate"


def test_m2sgd_with_xi_zero_removes_the_weights_that_would_never_move_and_no_others(tmp_path, trained):
    plain, masked = trained("dmsgd"), trained("m2sgd", "rule.args.xi=0.0")
    # Masked steps see other gradients; on the first support step alone both have the same rates.
    whole = regrow.open(export_checkpoint(plain, tmp_path / "a.regrow", steps=1).path).session()
    pruned = regrow.open(export_checkpoint(masked, tmp_path / "b.regrow", steps=1).path).session()
    start = {n: p.copy() for n, p in whole.parameters.items()}
    before = {n: p.copy() for n, p in pruned.parameters.items()}
    drawn = episode()
    whole.adapt(drawn.support_x, drawn.support_y)
    pruned.adapt(drawn.support_x, drawn.support_y)
    for n in before:
        rate = tensors(tmp_path / "a.regrow")[f"meta.rate.{n}"]
        assert np.array_equal(before[n] == 0, rate == 0), n
        assert np.array_equal(before[n][rate > 0], start[n][rate > 0])
        assert np.array_equal(whole.parameters[n][rate == 0], start[n][rate == 0])
        assert not pruned.parameters[n][rate == 0].any()


def tensors(path):
    from safetensors.numpy import load_file

    return load_file(str(path))


def test_where_every_rate_is_below_xi_the_export_says_so(tmp_path, trained):
    with pytest.raises(UnsupportedError, match="every weight would be removed"):
        export_checkpoint(trained("m2sgd", "rule.args.xi=5.0"), tmp_path / "m.regrow")


def test_dynamic_is_refused_where_there_is_nothing_to_freeze(tmp_path, trained):
    with pytest.raises(UnsupportedError, match="no LSTM's"):
        export_checkpoint(
            trained("dmsgd", "rule={name='sgd', args={lr=0.1}}"), tmp_path / "m.regrow", dynamic=True
        )


def test_the_cost_of_a_step_is_what_the_formulas_say():
    params = {"w": torch.zeros(7, 5), "b": torch.zeros(7)}
    n, width = 42, 20
    rule = lstm_optimiser()
    cost = rule_cost(rule, rule.meta(params), params)
    assert cost["state_bytes"] == 4 * 80 * n
    assert cost["rate_bytes"] == 4 * 5141
    products = 4 * width * (2 + width) + 4 * width * 2 * width + width
    # Three products per cell, reading a gradient (two) and the output's scale.
    assert cost["multiply_adds"] == n * (products + 2 * 3 * width + 3)
    assert cost["functions"] == n * (2 * 5 * width + 1)
    rule = dmsgd()
    cost = rule_cost(rule, rule.meta(params), params)
    assert cost["state_bytes"] == 4 * 2 * width
    assert cost["rate_bytes"] == 4 * (42 * n + 3386 - 80)


def test_the_command_states_both_costs_and_what_regrowing_takes(tmp_path, trained, capsys):
    out = tmp_path / "m.regrow"
    assert main(["export", str(trained("m2sgd")), "-o", str(out), "--update", "pruned", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["costs"]
    n = 784 * 6 + 6 + 6 * 3 + 3
    assert told["step"]["state_bytes"] == 0
    assert told["regrown"]["dense_bytes"] <= 4 * n
    session = regrow.open(out).session()
    drawn = episode()
    session.adapt(drawn.support_x, drawn.support_y)
    session.save(tmp_path / "d.delta")
    saved = sum(t.nbytes for n, t in tensors(tmp_path / "d.delta").items() if n.startswith("param."))
    assert 0 < saved <= told["regrown"]["delta_bytes"]
    assert main(["export", str(trained("m2sgd")), "-o", str(out), "--force"]) == 0
    text = capsys.readouterr().out
    for line in ("rule, per step", "frozen rates", "with --dynamic, per step"):
        assert line in text
