"""The tables of M2SGD, PAMELA and GEMS, each run once on next to nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from benchmarks.papers import (
    gems,
    gems_mixture,
    learners,
    m2sgd,
    m2sgd_mlp,
    pamela_cifar,
    pamela_sine,
)
from benchmarks.papers.learners import Data, Optimiser, Samples, Setting, frozen, grown, outcome, trained
from benchmarks.papers.record import record
from benchmarks.papers.table import Preset
from benchmarks.papers.work import Work
from regrow import checkpoint
from regrow.episodes import open_classes
from regrow.evaluate import Evaluation
from regrow_trainer.rules.dmsgd import dmsgd
from regrow_trainer.rules.momentum import momentum

SHORT = ("iterations=1", "tasks=2", "validation.every=1", "validation.episodes=1", "validation.queries=2")
GLYPHS = tuple(
    f"data.{part}=glyphs:{name}"
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test"))
)
SGD = momentum(0.01)
MLP = Setting("glyphs", "mlp", {"hidden": [32]}, (1, 28, 28), 2, support=5, trajectory=6)
RULE = dmsgd().meta(MLP.fresh())
CASE = replace(m2sgd_mlp.CASE, name="tiny", setting=MLP)


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> Data:
    """Ten classes that differ in where they are bright, in place of a setting's own; and a short warm-up."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for each in (20, 5, 5):
        y = torch.arange(10).repeat_interleave(each)
        x = torch.rand(10 * each, 784, generator=generator) - 1
        x[torch.arange(len(y)), 70 * y] = 5.0
        parts.append(Samples(x.reshape(-1, 1, 28, 28), y))
    monkeypatch.setattr(learners, "data", lambda setting: Data(*parts))
    monkeypatch.setattr(learners, "WARM_UP", 3)
    return Data(*parts)


def plain(share: float = 0.0) -> Optimiser:
    return Optimiser(SGD, SGD.meta(MLP.fresh()), random=share)


def test_learners_side_by_side_are_those_trained_alone(bright: Data) -> None:
    for optimiser in (plain(0.5), Optimiser(dmsgd(), RULE)):
        both, alone = (
            grown(MLP, optimiser, bright.train, 3, seeds)[0] for seeds in (range(7, 9), range(8, 9))
        )
        for name, made in both.items():
            torch.testing.assert_close(made[1:], alone[name], atol=1e-6, rtol=1e-4)
            assert not torch.equal(made[0], made[1])


def test_a_random_mask_stays_and_is_every_learners_own(bright: Data) -> None:
    made = outcome(MLP, plain(0.7), 4, range(3))
    assert made.zeros == pytest.approx([0.7] * 3, abs=0.02)
    weights = grown(MLP, plain(0.7), bright.train, 4, range(3))[0]["layers.0.weight"]
    assert ((weights[0] == 0) != (weights[1] == 0)).float().mean() > 0.3


def test_a_learner_that_trains_gets_better(bright: Data) -> None:
    few, many = (outcome(MLP, plain(), steps, range(2)) for steps in (0, 60))
    assert np.mean(many.test) > np.mean(few.test) + 0.3
    assert np.mean(many.held_back) > np.mean(few.held_back) + 0.3


def test_what_is_scored_in_parts_is_scored_whole(bright: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = outcome(MLP, plain(), 20, range(2))
    monkeypatch.setattr(learners, "_AT_ONCE", 7)
    assert outcome(MLP, plain(), 20, range(2))[:3] == whole[:3]


def test_frozen_rates_are_those_above_the_threshold(bright: Data) -> None:
    made = frozen(MLP, RULE, 0.1)
    for name, mask in made.masks.items():
        assert torch.equal(mask, made.meta[f"rate.{name}"] > 0.1)
    kept = torch.cat([mask.flatten() for mask in made.masks.values()]).float().mean()
    assert 1 - outcome(MLP, made, 2, range(1)).zeros[0] == pytest.approx(float(kept), abs=1e-3)


def test_a_data_set_is_parted_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners, "open_classes", lambda spec: open_classes(spec, classes=10, samples=6))
    made = learners.data(Setting("glyphs", "mlp", {}, (1, 28, 28), 2))
    assert [np.bincount(part.y).tolist() for part in made] == [[4] * 10, [2] * 10, [6] * 10]
    assert {float(part.x.min()) for part in made} == {-1.0}


def test_a_residual_network_is_trained_and_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Setting("stl10", "resnet20", {"widths": [4, 4, 4], "depth": 1}, (3, 8, 8), 2, "transductive")
    x, y = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10).repeat(4)
    x += y[:, None, None, None] - 5.0
    monkeypatch.setattr(learners, "data", lambda setting: Data(*[Samples(x, y)] * 3))
    rule = dmsgd(lr=0.01)
    before, after = (
        outcome(net, Optimiser(rule, rule.meta(net.fresh())), steps, range(2)) for steps in (0, 40)
    )
    assert np.mean(after.test) > np.mean(before.test) + 0.1


SHORTEST = Preset("tiny", (0, 1), 3, {"steps": ("3",), "long": ("5",)})


def test_an_optimiser_is_drawn_from_its_seed_and_trained_once(tmp_path: Path) -> None:
    first, second = (trained(MLP, "dmsgd", 1, seed, tmp_path) for seed in (0, 1))
    assert not torch.equal(first["reduce"], second["reduce"])
    assert not torch.equal(first["reduce"], RULE["reduce"])
    last = tmp_path / "dmsgd-1-0" / "last.safetensors"
    before = last.stat().st_mtime_ns
    assert torch.equal(trained(MLP, "dmsgd", 1, 0, tmp_path)["reduce"], first["reduce"])
    assert last.stat().st_mtime_ns == before
    assert checkpoint.read(last).iteration == 1


def test_every_row_of_m2sgd_is_measured(bright: Data, tmp_path: Path) -> None:
    work, table = Work(tmp_path, 1), m2sgd.table(CASE)
    jobs = table.jobs(SHORTEST)
    skipped = f"{m2sgd.MORE} trajectories"
    done = {(j.key, j.seed): work.cell(table.name, SHORTEST, j) for j in jobs if skipped not in j.key}
    made = record(table, "cpu", SHORTEST, done, work.times())
    assert [k for k, c in made["cells"].items() if "mean" not in c and skipped not in k] == []
    assert {c["verdict"] for c in made["claims"]} <= {"holds", "open", "fails"}
    cells = made["cells"]
    assert cells["weights removed: M2SGD 0"]["mean"] < cells["weights removed: M2SGD 0.2"]["mean"]
    # Random masks are as dense as frozen ones, and the best of ten are chosen on the test.
    random, own = (
        np.mean([facts["weights removed"] for facts in cells[key]["facts"].values()])
        for key in ("SGD, best of the rates, random mask as M2SGD 0.1", "M2SGD 0.1, frozen")
    )
    assert random == pytest.approx(own, abs=0.02)
    assert cells["best five of ten: DMSGD"]["mean"] >= cells["DMSGD"]["mean"] - 1e-9


def test_the_rate_is_chosen_on_what_was_held_back(bright: Data, tmp_path: Path) -> None:
    table, work = m2sgd.table(CASE), Work(tmp_path, 1)
    job = next(j for j in table.jobs(SHORTEST) if j.key == m2sgd.TUNED)
    work.cell(table.name, SHORTEST, job)
    for path in (tmp_path / "tiny-3x3").glob("SGD_rate_*-s0.json"):
        value = 0.9 if "_0.003-" in path.name else 0.1
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "held_back": [value] * 3, "test": [1 - value] * 3}))
    chosen = job.run(work)
    assert chosen.facts["chosen rate"] == 0.003
    assert chosen.scores.scores.tolist() == pytest.approx([0.1] * 3)


def test_pamelas_waves_and_their_ablation(tmp_path: Path) -> None:
    table, work = pamela_sine.TABLE, Work(tmp_path, 1)
    preset = Preset("tiny", (0,), 3, {"train": SHORT})
    jobs = [j for j in table.jobs(preset) if j.key.endswith("K 10")]
    done = {(j.key, j.seed): work.cell(table.name, preset, j) for j in jobs}
    made = record(table, "cpu", preset, done, work.times())
    assert [c["says"] for c in made["claims"] if c["verdict"] == "not run" and "K = 10" in c["says"]] == []
    meta = {}
    for row in ("only Q: rates per step", "only P: mixing with earlier weights", pamela_sine.PAMELA):
        run = done[f"{row}, K 10", 0]["runs"][0]
        meta[row] = {n.partition(".")[0] for n in checkpoint.read(tmp_path / run / "last.safetensors").meta}
    assert list(meta.values()) == [{"q"}, {"p"}, {"p", "q"}]
    steps = [len(done[f"{row}, K 10", 0]["curve"]) for row in pamela_sine.MAIN]
    assert steps == [6, 2, 6, 6]


def test_pamelas_photographs(tmp_path: Path) -> None:
    table, work = pamela_cifar.TABLE, Work(tmp_path, 1)
    preset = Preset("tiny", (0,), 2, {"train": (*SHORT, *GLYPHS, "backbone.args.width=4", "queries=2")})
    jobs = table.jobs(preset)
    done = {(j.key, j.seed): work.cell(table.name, preset, j) for j in jobs}
    ours = {c.key for c in table.cells if "(not here)" not in c.row}
    assert {key for key, _ in done} == {key for key in ours if not key.endswith("5-shot")}
    five = table.jobs(replace(preset, sets={**preset.sets, "five": ("yes",)}))
    assert {j.key for j in five} == ours


def test_one_learner_for_two_kinds_is_asked_about_each(tmp_path: Path) -> None:
    parts = "[{source='glyphs', args={classes=20, samples=20}}, {source='glyphs', args={seed=1}}]"
    preset = Preset(
        "tiny", (0,), 2,
        {
            "train": (*SHORT, "queries=2", f"data.args.parts={parts}"),
            "plain": ("backbone.args.width=4",),
            "mmsup": ("backbone.args.args.width=4",),
        },
    )  # fmt: skip
    table, work = gems_mixture.TABLE, Work(tmp_path, 1)
    jobs = table.jobs(preset)
    done = {(j.key, j.seed): work.cell(table.name, preset, j) for j in jobs}
    made = record(table, "cpu", preset, done, work.times())
    assert all(c["verdict"] != "not run" for c in made["claims"])
    runs = {
        row: {done[f"{row}, {kind}", 0]["runs"][0] for kind in ("characters", "photographs")}
        for row in gems.RECIPES
    }
    assert {row: len(found) for row, found in runs.items()} == {
        **dict.fromkeys(gems.RECIPES, 1),
        gems.OWN: 2,
    }
    twice = next(iter(runs[gems.TWICE]))
    assert checkpoint.read(tmp_path / twice / "last.safetensors").iteration == 2
    assert Evaluation(np.array(done["BMP, characters", 0]["scores"]), "accuracy").mean <= 1
