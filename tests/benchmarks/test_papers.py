"""The papers' tables: the rule that judges them, the tables as data, and the runner on a table of seconds."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from benchmarks.papers import __main__ as papers
from benchmarks.papers import anp_omniglot, charts, judge, meta_lth_omniglot, page
from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Metric, Preset, Published, Table
from benchmarks.papers.tables import TABLES, find
from benchmarks.papers.work import Work
from regrow.errors import RegrowError
from regrow.evaluate import Evaluation
from regrow_trainer import training
from regrow_trainer.build import moves, rebuild
from regrow_trainer.recipe import Prune
from regrow_trainer.tensors import to_tensors

RUN = [t for t in TABLES if t.jobs is not None]
RECORDED = [t for t in TABLES if page.read(t) is not None]


def around(mean: float, half: float) -> judge.Interval:
    return judge.Interval(mean, mean - half, mean + half)


@pytest.mark.parametrize(
    ("mean", "half", "metric", "cell", "status"),
    [
        (0.9601, 0.003, "accuracy", {}, "reproduced"),  # 0.02 away: 0.003 and 0.002 are noise, 0.015 allowed
        (0.9599, 0.003, "accuracy", {}, "partly"),
        (0.930, 0.003, "accuracy", {}, "partly"),  # 0.045 beyond both spreads
        (0.929, 0.003, "accuracy", {}, "not reproduced"),
        (0.999, 0.0, "accuracy", {}, "reproduced"),
        (0.999, 0.0, "accuracy", {"rival": True}, "partly"),  # 0.017 beyond the spread
        (1.5, 0.0, "mse", {}, "not reproduced"),
        (0.5, 0.0, "mse", {}, "reproduced"),
        (0.5, 0.0, "mse", {"rival": True}, "not reproduced"),
        (0.98, 0.0, "accuracy", {"comparable": False}, "ours"),
        (0.98, 0.0, "accuracy", {"published": None}, "ours"),
    ],
)
def test_a_cell_is_judged_by_its_distance(
    mean: float, half: float, metric: Metric, cell: dict[str, Any], status: str
) -> None:
    made = replace(Cell("k", "row", "column", Published(0.98, 0.002)), **cell)
    assert judge.status(made, around(mean, half), 0.015, metric) == status
    assert judge.status(made, None, 0.015, metric) == "not run"


@pytest.mark.parametrize(
    ("low", "high", "margin", "metric", "verdict"),
    [
        (-0.009, 0.002, 0.01, "accuracy", "holds"),
        (-0.011, 0.002, 0.01, "accuracy", "open"),
        (-0.030, -0.011, 0.01, "accuracy", "fails"),
        (0.0, 0.1, 0.0, "accuracy", "holds"),
        (-0.2, -0.1, 0.0, "mse", "holds"),
        (0.1, 0.2, 0.0, "mse", "fails"),
    ],
)
def test_a_claim_is_judged_by_the_whole_interval(
    low: float, high: float, margin: float, metric: Metric, verdict: str
) -> None:
    assert judge.verdict(judge.Interval((low + high) / 2, low, high), margin, metric) == verdict


def test_seeds_that_disagree_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    scores = {s: Evaluation(m + 0.01 * generator.normal(size=400)) for s, m in enumerate((0.8, 0.9, 1.0))}
    found = judge.ours(scores)
    means = [e.mean for e in scores.values()]
    assert found.half_width == pytest.approx(4.303 * np.std(means, ddof=1) / math.sqrt(3))
    alone = judge.ours({0: scores[0]})
    assert alone.half_width == pytest.approx(scores[0].half_width)
    assert alone.half_width < 0.002
    better = {s: Evaluation(e.scores + 0.05) for s, e in scores.items()}
    # What both have in common falls away: every seed is better by as much.
    assert judge.gap(better, scores).low == pytest.approx(0.05)
    uneven = {s: Evaluation(e.scores + 0.05 * s) for s, e in scores.items()}
    assert judge.verdict(judge.gap(uneven, scores), 0.0, "accuracy") == "open"


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_table_is_whole(table: Table) -> None:
    keys = [c.key for c in table.cells]
    assert len(set(keys)) == len(keys) > 3
    assert len({(c.grid, c.row, c.column) for c in table.cells}) == len(keys)
    named = {key for claim in table.claims for key in (claim.first, claim.second)}
    named |= {k for chart in table.charts for line in chart.lines.values() for _, k in line}
    named |= {key for chart in table.charts for key in chart.curves.values()}
    assert named <= set(keys)
    assert bool(table.absent) == (table.jobs is None) == (not table.presets)
    for preset in table.presets.values():
        assert table.jobs is not None
        jobs = [(j.key, j.seed) for j in table.jobs(preset)]
        assert len(set(jobs)) == len(jobs)
        assert {key for key, _ in jobs} <= set(keys)
        assert {seed for _, seed in jobs} == set(preset.seeds)
    if table.absent:
        assert all(c.published is not None for c in table.cells)


def test_every_name_is_one_table() -> None:
    assert len({t.name for t in TABLES}) == len(TABLES)
    assert find(TABLES[0].name) is TABLES[0]
    with pytest.raises(RegrowError, match="no table 'x', expected one of meta_lth_omniglot"):
        find("x")


@pytest.mark.parametrize("table", RUN, ids=lambda t: t.name)
def test_a_run_has_a_full_preset_and_most_have_a_short_one(table: Table) -> None:
    assert set(table.presets) == ({"gpu"} if table.name == "m2sgd_resnet20" else {"cpu", "gpu"})
    assert table.differs


def mean_after(percent: int, preset: Preset, seed: int, work: Work) -> Measured:
    base = work.trained("base", work.recipe("sine-maml", seed, preset.sets["base"]))
    plan = Prune(pruner="magnitude", sparsity=percent / 100) if percent else None
    run = work.trained(f"pruned-{percent}", work.recipe("sine-maml", seed, preset.sets["more"]), base, plan)
    made = work.last(run)
    found = scored(made, preset.episodes, (0, made.steps), workers=1)
    return Measured(found[made.steps], {"steps": made.steps}, [(n, e.mean) for n, e in found.items()])


def tiny_jobs(preset: Preset) -> Sequence[Job]:
    return [Job(f"{p}", s, partial(mean_after, p, preset, s)) for s in preset.seeds for p in (0, 50)]


QUICK = ("train.tasks=2", "validation.every=100", "validation.episodes=2")
TINY = Table(
    name="tiny",
    title="A table of seconds",
    paper="none",
    metric="mse",
    cells=(Cell("0", "dense", "0 %", Published(3.0)), Cell("50", "pruned", "50 %")),
    claims=(Claim("pruned is no worse than dense, give or take 100", "50", "0", 100.0),),
    presets={
        "cpu": Preset(
            "seconds",
            (0, 1),
            12,
            {"base": (*QUICK, "train.iterations=4"), "more": (*QUICK, "train.iterations=2")},
        )
    },
    jobs=tiny_jobs,
    charts=(
        Chart("sparsity", "removed, %", {"magnitude": ((0, "0"), (50, "50"))}),
        Chart("steps", "steps", curves={"dense": "0", "pruned": "50"}),
    ),
)


def test_a_table_runs_goes_on_and_makes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(tmp_path, 1)
    part = papers.run(TINY, "cpu", work, ["0"])
    assert [c["status"] for c in part["cells"].values()][1] == "not run"
    assert part["claims"][0]["verdict"] == "not run"
    spent = work.times()

    made = papers.run(TINY, "cpu", work)
    assert {k: v for k, v in work.times().items() if k in spent} == spent, "finished trainings ran again"
    cell = made["cells"]["50"]
    assert cell["episodes"] == 24
    assert set(cell["by_seed"]) == {"0", "1"}
    assert len(cell["runs"]) == 4
    assert cell["facts"]["1"] == {"steps": 5}
    assert made["cells"]["0"]["mean"] == part["cells"]["0"]["mean"]
    assert made["claims"][0]["verdict"] == "holds"
    again = papers.run(TINY, "cpu", Work(tmp_path, 1))
    assert again["cells"] == made["cells"]
    assert json.loads((tmp_path / "tiny.json").read_text()) == json.loads(json.dumps(again))

    assert "not run" not in papers.told(made)
    assert "holds" in papers.told(made)
    text = page.page([TINY], tmp_path)
    assert f"3.000; **{made['cells']['0']['mean']:.3f}**" in text
    pictures = page.pictures([TINY], tmp_path)
    assert set(pictures) == {"papers-tiny-sparsity.svg", "papers-tiny-steps.svg"}
    for picture in pictures.values():
        ElementTree.fromstring(picture)


def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = Work(tmp_path / "whole", 1), Work(tmp_path / "broken", 1)
    recipe = whole.recipe("sine-maml", 0, TINY.presets["cpu"].sets["base"])
    real = training._Run._iterate
    calls = 0

    def breaks(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(training._Run, "_iterate", breaks)
    with pytest.raises(KeyboardInterrupt):
        broken.trained("base", recipe)
    monkeypatch.undo()
    first = whole.last(whole.trained("base", recipe))
    second = broken.last(broken.trained("base", recipe))
    assert second.iteration == 4
    for name, array in first.params.items():
        np.testing.assert_array_equal(array, second.params[name])


def test_another_recipe_or_start_is_another_run(tmp_path: Path) -> None:
    work = Work(tmp_path, 1)
    sets = TINY.presets["cpu"].sets
    one = work.trained("base", work.recipe("sine-maml", 0, sets["base"]))
    other = work.trained("base", work.recipe("sine-maml", 1, sets["base"]))
    more = [work.trained("more", work.recipe("sine-maml", 0, sets["more"]), s) for s in (one, other)]
    assert len({r.path for r in (one, other, *more)}) == 4


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="needs FC100"):
        papers.run(find("meta_lth_fc100"), "cpu", Work(tmp_path, 1))
    with pytest.raises(RegrowError, match="no cell begins with 7"):
        papers.run(TINY, "cpu", Work(tmp_path, 1), ["7"])
    with pytest.raises(RegrowError, match="expected one of cpu"):
        papers.run(TINY, "gpu", Work(tmp_path, 1))


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert papers.main([]) == 0
    assert all(t.name in capsys.readouterr().out for t in TABLES[:1])
    assert papers.main(["nothing"]) == 1
    assert "expected one of" in capsys.readouterr().err


def test_the_page_is_that_of_the_records(tmp_path: Path) -> None:
    page.write_page(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        own = page.DOCS / path.name
        assert own.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), (
            f"{path.name}: run python -m benchmarks.papers --page"
        )
    assert {p.name for p in page.DOCS.glob("papers-*.svg")} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("table", RECORDED, ids=lambda t: t.name)
def test_recorded_statuses_follow_from_recorded_figures(table: Table) -> None:
    made = page.read(table)
    assert made is not None
    assert set(made["cells"]) == {c.key for c in table.cells}
    assert made["machine"]["commit"]
    assert made["settings"]["seeds"]
    for cell in table.cells:
        figure = made["cells"][cell.key]
        found = judge.Interval(*(figure[k] for k in ("mean", "low", "high"))) if "mean" in figure else None
        assert figure["status"] == judge.status(cell, found, table.tolerance, table.metric), cell.key
        assert figure["published"] == (cell.published.value if cell.published else None)
    for claim, finding in zip(table.claims, made["claims"], strict=True):
        found = judge.Interval(*(finding[k] for k in ("mean", "low", "high"))) if "mean" in finding else None
        assert finding["says"] == claim.says
        assert finding["verdict"] == judge.verdict(found, claim.margin, table.metric)


def test_a_chart_of_nothing_is_none() -> None:
    made: Any = {"metric": "mse", "table": "t", "cells": {"0": {"published": 1.0}, "50": {"published": None}}}
    assert charts.draw(TINY.charts[0], made) is None


GLYPHS = meta_lth_omniglot.Setting(
    "tiny",
    "omniglot-5w1s-fomaml",
    (
        "data.train=glyphs:train",
        "data.validation=glyphs:val",
        "data.test=glyphs:test",
        "data.args={}",
        "backbone.args={width=8,downsample='stride'}",
    ),
)
SHORT = Preset(
    "seconds",
    (0,),
    6,
    {
        "base": (*QUICK, "train.iterations=2", "learner.batch_norm=transductive"),
        "retrain": ("train.iterations=2",),
    },
)


def test_every_scope_moves_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_lth_omniglot, "VALIDATION", 3)
    work = Work(tmp_path, 1)
    run = meta_lth_omniglot.ticket(work, GLYPHS, SHORT, 0, 50)
    made = work.last(run)
    masks = to_tensors(made.masks)
    assert len(masks) == 4
    assert sum(int(m.sum()) for m in masks.values()) * 2 == sum(m.numel() for m in masks.values())
    moved: dict[str, tuple[bool, bool, bool, bool]] = {}
    for scope in meta_lth_omniglot.SCOPES:
        chosen = meta_lth_omniglot.device(made, scope, 0.4)
        learner = rebuild(chosen, "test").learner
        params, meta = to_tensors(chosen.params), to_tensors(chosen.meta)
        assert float(meta["lr"]) == pytest.approx(0.4)
        x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        after = learner.adapt(params, meta, moves(chosen), x, torch.arange(5), 1)
        changed = {n: after[n] != params[n] for n in params}
        kept = any(bool((changed[n] & m).any()) for n, m in masks.items())
        pruned = any(bool((changed[n] & ~m).any()) for n, m in masks.items())
        head = bool(changed["head.weight"].any())
        rest = any(bool(c.any()) for n, c in changed.items() if n not in masks and not n.startswith("head"))
        moved[scope] = (kept, pruned, head, rest)
    assert moved == {
        "kept": (True, False, True, True),
        "kept weights alone": (True, False, False, False),
        "head alone": (False, False, True, False),
        "strict": (False, True, False, False),
        "plus_head": (False, True, True, False),
        "plus_unmasked": (False, True, True, True),
        "all": (True, True, True, True),
    }
    found = meta_lth_omniglot.measured(work, run, SHORT, "kept", (1, 2), "support")
    assert len(found.scores.scores) == 6
    assert [n for n, _ in found.curve] == [0, 1, 2]
    tried: Any = found.facts["validation"]
    assert len(tried) == 6
    assert tried[f"{found.facts['rate']:g} x {found.facts['steps']}"] == max(tried.values())


def test_a_ticket_begins_with_the_very_first_weights(tmp_path: Path) -> None:
    work = Work(tmp_path, 1)
    still = replace(SHORT, sets={**SHORT.sets, "retrain": ("train.iterations=0",)})
    ticket = work.last(meta_lth_omniglot.ticket(work, GLYPHS, still, 0, 50))
    none = replace(SHORT, sets={"base": (*SHORT.sets["base"], "train.iterations=0")})
    first = work.last(meta_lth_omniglot.base(work, GLYPHS, none, 0))
    for name, array in first.params.items():
        np.testing.assert_array_equal(ticket.params[name], array * ticket.masks.get(name, 1))


def test_rows_of_one_task_see_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anp_omniglot, "SETTING", GLYPHS)
    monkeypatch.setattr(anp_omniglot, "OWN", (*anp_omniglot.OWN, "data.train=glyphs:test"))
    work = Work(tmp_path, 1)
    seen = []
    real = Work.trained

    def watched(self: Work, label: str, recipe: Any, *more: Any) -> Any:
        seen.append((label, recipe.data.train, recipe.train.task_pool, recipe.train.iterations))
        return real(self, label, recipe, *more)

    monkeypatch.setattr(Work, "trained", watched)
    for key in ("l-obs-own", "anp"):
        found = anp_omniglot.pruned(SHORT, 0, key, 50, work)
        assert len(found.scores.scores) == 6
    rows = [s for s in seen if not s[0].startswith("base")]
    assert rows == [("l-obs-own-5w1s-50", "glyphs:test", 1, 2), ("anp-5w1s-50", "glyphs:train", 0, 2)]
