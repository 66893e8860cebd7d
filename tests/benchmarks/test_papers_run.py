"""The runner of the papers' tables: a table of seconds from training to page, and what its rows train."""

import json
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
from benchmarks.papers import anp, charts, meta_lth, page, scopes
from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.tables import find
from benchmarks.papers.work import Work
from regrow.errors import RegrowError
from regrow_trainer import training
from regrow_trainer.build import moves, rebuild
from regrow_trainer.recipe import Prune
from regrow_trainer.rundir import RunDir
from regrow_trainer.tensors import to_tensors


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
PLAIN = {"says": "seconds", "episodes": 12}
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
    taken = papers.run(TINY, "cpu", work, kept=True)
    assert taken["cells"] == part["cells"]
    assert work.times() == spent

    half = papers.run(TINY, "cpu", Work(tmp_path, 1), ["0"])
    (tmp_path / "tiny.json").write_text(json.dumps({**half, "settings": {"seeds": [0, 1, 2], **PLAIN}}))
    assert "(2 of 3 seeds)" in page.page([TINY], tmp_path)

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


def test_a_training_that_was_stopped_before_its_first_save_begins_anew(tmp_path: Path) -> None:
    work = Work(tmp_path, 1)
    recipe = work.recipe("sine-maml", 0, TINY.presets["cpu"].sets["base"])
    run = work.trained("base", recipe)
    first = work.last(run)
    run.last.unlink()
    again = work.last(work.trained("base", recipe))
    for name, array in first.params.items():
        np.testing.assert_array_equal(again.params[name], array)


def test_another_recipe_or_start_is_another_run(tmp_path: Path) -> None:
    work = Work(tmp_path, 1)
    sets = TINY.presets["cpu"].sets
    one = work.trained("base", work.recipe("sine-maml", 0, sets["base"]))
    other = work.trained("base", work.recipe("sine-maml", 1, sets["base"]))
    more = [work.trained("more", work.recipe("sine-maml", 0, sets["more"]), s) for s in (one, other)]
    assert len({r.path for r in (one, other, *more)}) == 4


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"gems_fungi: .* preset 'cpu', expected one of gpu"):
        papers.run(find("gems_fungi"), "cpu", Work(tmp_path, 1))
    with pytest.raises(RegrowError, match="no cell begins with 7"):
        papers.run(TINY, "cpu", Work(tmp_path, 1), ["7"])
    with pytest.raises(RegrowError, match="expected one of cpu"):
        papers.run(TINY, "gpu", Work(tmp_path, 1))


GLYPHS = meta_lth.Setting(
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
    monkeypatch.setattr(scopes, "VALIDATION", 3)
    work = Work(tmp_path, 1)
    run = meta_lth.ticket(work, GLYPHS, SHORT, 0, 50)
    made = work.last(run)
    masks = to_tensors(made.masks)
    assert len(masks) == 4
    assert sum(int(m.sum()) for m in masks.values()) * 2 == sum(m.numel() for m in masks.values())
    moved: dict[str, tuple[bool, bool, bool, bool]] = {}
    for scope in scopes.SCOPES:
        chosen = scopes.device(made, scope, 0.4)
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
    found = scopes.measured(work, run, SHORT, "kept", (1, 2), "support")
    assert len(found.scores.scores) == 6
    assert [n for n, _ in found.curve] == [0, 1, 2]
    tried: Any = found.facts["validation"]
    assert len(tried) == 6
    assert tried[f"{found.facts['rate']:g} x {found.facts['steps']}"] == max(tried.values())
    asked = []
    monkeypatch.setattr(
        scopes, "scored", lambda made, *more, **named: asked.append(made.recipe["data"]["args"]) or
        scored(replace(made, recipe=work.last(run).recipe), *more, **named),
    )  # fmt: skip
    scopes.measured(work, run, SHORT, "kept", (1,), test={"rotations": "none"})
    own = work.last(run).recipe["data"]["args"]
    assert asked == [*[own] * len(scopes.RATES), {"rotations": "none"}]  # the rate is chosen as ever


def test_a_ticket_begins_with_the_very_first_weights(tmp_path: Path) -> None:
    work = Work(tmp_path, 1)
    still = replace(SHORT, sets={**SHORT.sets, "retrain": ("train.iterations=0",)})
    ticket = work.last(meta_lth.ticket(work, GLYPHS, still, 0, 50))
    none = replace(SHORT, sets={"base": (*SHORT.sets["base"], "train.iterations=0")})
    first = work.last(meta_lth.base(work, GLYPHS, none, 0))
    for name, array in first.params.items():
        np.testing.assert_array_equal(ticket.params[name], array * ticket.masks.get(name, 1))


def test_a_control_changes_what_it_says_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meta_lth, "_EARLY", ("train.iterations=3", "train.schedule=constant"))
    work = Work(tmp_path, 1)
    still = replace(SHORT, sets={**SHORT.sets, "retrain": ("train.iterations=0",)})
    dense = work.last(meta_lth.base(work, GLYPHS, still, 0))
    made = {
        control: work.last(meta_lth.ticket(work, GLYPHS, still, 0, 50, control))
        for control in ("", *meta_lth.CONTROLS)
    }
    for control, one in made.items():
        assert one.recipe["learner"]["steps"] == (5 if control == meta_lth.FIVE else 1)
        for name, mask in made[""].masks.items():
            np.testing.assert_array_equal(one.masks[name], mask, err_msg=control)
            assert not one.params[name][~mask.astype(bool)].any()
    for name, first in made[""].params.items():
        mask = dense.masks.get(name, made[""].masks.get(name, 1))
        np.testing.assert_array_equal(made[meta_lth.NOT_REWOUND].params[name], dense.params[name] * mask)
        np.testing.assert_array_equal(made[meta_lth.FIVE].params[name], first)
    moved = [n for n, p in made[""].params.items() if (made[meta_lth.EARLY].params[n] != p).any()]
    assert "head.weight" in moved
    (early,) = tmp_path.glob("early-tiny-*")
    assert Work(tmp_path, 1).last(RunDir(early)).iteration == 3


def test_rows_of_one_task_see_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = anp.Case("{}-tiny{}", GLYPHS.recipe, anp.rows(2), (50,), GLYPHS.sets, "glyphs:test")
    work = Work(tmp_path, 1)
    seen = []
    real = Work.trained

    def watched(self: Work, label: str, recipe: Any, *more: Any) -> Any:
        seen.append((label, recipe.data.train, recipe.train.task_pool, recipe.train.iterations))
        return real(self, label, recipe, *more)

    monkeypatch.setattr(Work, "trained", watched)
    short = replace(SHORT, sets={**SHORT.sets, "longer": ("train.iterations=3",)})
    jobs = {job.key: job for job in anp.jobs(case, short)}
    for key in ("50/l-obs-own", "50/anp", "50/anp/longer"):
        assert len(jobs[key].run(work).scores.scores) == 6
    assert set(jobs) - {j.key for j in anp.jobs(case, SHORT)} == {"0/longer", "50/anp/longer"}
    rows = [s for s in seen if not s[0].startswith("base")]
    assert rows == [
        ("l-obs-own-tiny-50", "glyphs:test", 1, 2),
        ("anp-tiny-50", "glyphs:train", 0, 2),
        ("anp-tiny-50", "glyphs:train", 0, 3),
    ]


def test_a_chart_of_nothing_is_none() -> None:
    made: Any = {"metric": "mse", "table": "t", "cells": {"0": {"published": 1.0}, "50": {"published": None}}}
    assert charts.draw(TINY.charts[0], made) is None
