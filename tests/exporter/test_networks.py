"""Every network of the list, with every usual adaptable set, rule and batch, on every engine present."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from benchmarks.networks import NETWORKS as LARGE
from regrow import reference, selftest
from regrow.engines import available
from regrow_exporter import deviation, export
from regrow_exporter.oracle import jittered
from tests.exporter.covered import BATCHES, COVERED, RULES, SETS

STEPS = 3
SEEDS = range(1, 6)
# Of a loss or a logit, in units of the largest: what the self-test of a bundle calls clear.
CLEAR = 1e-3

EVERY = [(name, chosen, rule) for name, c in COVERED.items() for rule in c.rules for chosen in SETS]
# By default every network once and every rule of each that has more, with the sets taking turns.
TURNS = {
    (name, list(SETS)[(i + r) % len(SETS)], rule)
    for i, (name, c) in enumerate(COVERED.items())
    for r, rule in enumerate(c.rules)
}
CASES = [pytest.param(*case, marks=[] if case in TURNS else pytest.mark.slow) for case in EVERY]


def test_every_network_set_and_rule_is_there_and_some_of_each_by_default():
    assert {chosen for _, chosen, _ in TURNS} == set(SETS)
    assert {(name, rule) for name, _, rule in TURNS} == {(name, rule) for name, _, rule in EVERY}
    assert {rule for _, _, rule in EVERY} == set(RULES)


@pytest.mark.parametrize(("name", "chosen", "rule"), CASES)
def test_it_is_proven_and_adapts_on_every_engine(tmp_path, name, chosen, rule):
    network = COVERED[name]
    made = proven(network.build(), network.shape, network.patterns(chosen), tmp_path, rule, network.loss)
    for batch in BATCHES:
        adapts(made.path, batch)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("name", LARGE)
def test_its_full_size_is_proven(tmp_path, name, chosen):
    network = LARGE[name]
    patterns = [*SETS[chosen], *([network.last] if chosen == "last block" else [])]
    proven(network.build(), network.shape, patterns, tmp_path)


@pytest.mark.parametrize("name", ["conv4", "gru"])
def test_the_proof_of_every_engine_is_the_same_each_time(tmp_path, name):
    """So that the same inputs give the same bytes, figures of the core included."""
    network = COVERED[name]
    first, second = (
        proven(network.build(), network.shape, ["*"], tmp_path, "adam", path=f"{i}.regrow") for i in (1, 2)
    )
    assert first.manifest.verification == second.manifest.verification
    assert first.path.read_bytes() == second.path.read_bytes()


def proven(module, shape, patterns, folder, rule="sgd", loss="cross_entropy", path="m.regrow"):
    """The export, after a look at its figures."""
    settings = {"adaptable": patterns, "rule": rule, "lr": RULES[rule], "steps": STEPS, "loss": loss}
    x, _ = selftest.episode(2, 8, 2, shape)
    made = export(module, torch.from_numpy(x), name="m", path=folder / path, **settings)
    figures = made.manifest.verification
    assert max(figures["reference"].values()) <= deviation.GRAPH_LIMIT
    assert set(figures["engines"]) == set(available())
    assert all("refused" not in engine for engine in figures["engines"].values())
    return made


def adapts(path, batch):
    """On each engine as in fp64, from one bundle: on the first episode clear of ties on all of them.

    Statistics of a few numbers multiply a rounding by so much that fp64 itself does not stay as near where
    the samples are moved by one; engines then may be off by as many times that as in every proof.
    """
    models = [regrow.open(path, engine=name) for name in available()]
    found = []
    for seed in SEEDS:
        x, y, want = expected(models[0].bundle, seed, batch)
        worst = max(differ(answer(model, x, y), want) for model in models)
        found.append((worst, CLEAR))
        if worst >= CLEAR:
            near = (jittered(torch.from_numpy(x), j).numpy() for j in (1, 2, 3))
            noise = max(differ(expected(models[0].bundle, seed, batch, other)[2], want) for other in near)
            found[-1] = (worst, max(CLEAR, deviation.ENGINE_FACTOR * noise))
        if worst < found[-1][1]:
            return
    raise AssertionError(f"batch {batch}: engines and fp64 differ by (found, allowed) {found}")


def expected(bundle, seed, batch, moved=None):
    """An episode, and what the reference makes of the programs as they are stored."""
    made = bundle.manifest
    (outputs,) = made.output.shape
    x, y = selftest.episode(seed, batch, max(outputs, 2), made.input.shape)
    x = x if moved is None else moved
    if made.task == "regression":
        rows = [selftest.uniform(seed, 5000 + i, outputs) for i in range(batch)]
        y = np.stack(rows).astype(np.float32)
    moves = {p.name: bundle.moves(p) for p in made.parameters if p.adaptable != "none"}
    env = {
        **bundle.params,
        **{f"meta:{n}": t for n, t in bundle.meta.items()},
        **{f"state:{n}": t for n, t in bundle.state.items()},
        **{f"mask:{n}": mask for n, mask in moves.items() if mask is not None},
        **{"x": x, "y": y, "active": np.ones(outputs, np.bool_)},
    }
    programs = {name: bundle.program(name) for name in made.programs}
    known, losses = reference.adapt(programs, env, made.rule.steps)
    logits = reference.run(programs["predict"], {**env, **known})["logits"]
    return x, y, [np.array(losses), logits]


def answer(model, x, y):
    """Losses and logits of an engine."""
    bundle, engine = model.bundle, model.engine
    active = np.ones(bundle.manifest.output.shape, np.bool_)
    if bundle.manifest.task == "regression":
        active = None
    params = {p.name: bundle.params[p.name] for p in model.adaptable}
    done = engine.adapt(x, y, active, params, bundle.state, bundle.manifest.rule.steps)
    return [np.asarray(done.losses), engine.predict(x, done.params, done.statistics)]


def differ(found, want):
    """The largest difference of losses and logits, each in units of its largest."""
    pairs = zip(found, want, strict=True)
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)
