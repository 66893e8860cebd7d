"""Meta-LTH's tables: dense and pruned networks, by what the device moves, and controls of how they train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from benchmarks.papers.scopes import SCOPES, TOLD, measured
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow_trainer.recipe import Prune, Recipe
from regrow_trainer.rundir import RunDir

PAPER = "Meta-LTH, Learning to learn with indispensable connections (2023)"
SPARSITIES = (90, 80, 70, 60, 50)
BASE = ("learner.batch_norm=transductive", "validation.every=1000")


class Setting(NamedTuple):
    """Ways and shots, and the recipe that trains them; `data` tells runs of one name apart.

    A preset's `sets` of this name, where there are any, come after those of every setting. `told` is the
    head of its column. One that is `brief` has no more than the main rows, at the largest and the smallest
    sparsity, the latter under its first seed; its `seeds` are its own where it has any, and its runs are
    called like those of `runs`.
    """

    name: str
    recipe: str
    sets: tuple[str, ...] = ()
    data: str = ""
    told: str = ""
    brief: bool = False
    seeds: tuple[int, ...] = ()
    runs: str = ""
    controls: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """As people call it."""
        return self.told or self.name

    @property
    def label(self) -> str:
        """As runs are called."""
        name = self.runs or self.name
        return f"{self.data}-{name}" if self.data else name


@dataclass(frozen=True)
class Case:
    """One of the tables.

    `printed` has accuracy and deviation over three seeds in percent, dense first, then by sparsity; settings
    that are not in it are the table's own. A preset's `sets` are "base" and "retrain", where controls are
    shorter "controls", its `parts` "settings" and "percent". The first setting has all controls. `upright`
    are arguments of a test source that turns no character, where the recipes' turns them.
    """

    name: str
    title: str
    number: int
    settings: tuple[Setting, ...]
    printed: Mapping[str, tuple[tuple[float, float], ...]]
    steps: tuple[int, ...]
    differs: tuple[str, ...]
    presets: Mapping[str, Preset]
    needs: tuple[str, ...] = ()
    remarks: str = ""
    upright: Mapping[str, Any] | None = None

    def controls(self, setting: Setting) -> tuple[str, ...]:
        """How a setting's pruned networks are trained besides."""
        return tuple(CONTROLS) if setting is self.settings[0] else setting.controls

    def again(self, setting: Setting) -> list[str]:
        """How a setting's main rows are measured besides."""
        return [how for how in AGAIN if not setting.brief and (how != "upright" or self.upright is not None)]


MAIN = {"plus_head": "pruned and head move", "kept": "kept weights move"}  # the rows of the paper
SHOWN = (90, 50)  # sparsities that are measured under the device's norms too, and all of a brief setting
SCOPED = (90,)  # and those at which every scope is, and every control
SUPPORT = "Norms by the support set alone, as a device answers one sample at a time"
UPRIGHT = "Test characters upright alone, none of them turned"
# How the main rows are measured once more -> the grid they stand in.
AGAIN = {"support": SUPPORT, "upright": UPRIGHT}

# How a pruned network can be trained, all equally long: the preset says how long.
REWOUND, NOT_REWOUND, EARLY = "rewound", "not rewound", "rewound to iteration 500"
FIVE = "five inner steps of 0.1"
CONTROLS = {
    REWOUND: "back at the first weights, as published",
    NOT_REWOUND: "trained on from the dense network's last weights",
    EARLY: "back at the dense network's weights of iteration 500",
    FIVE: "back at the first weights, then five inner steps of 0.1",
}
# Cosines fall by less than a thousandth in so short a time: these are the dense run's first iterations.
_EARLY = ("train.iterations=500", "train.schedule=constant")
_FIVE = ("learner.steps=5", "rule.args.lr=0.1")


def base(work: Work, setting: Setting, preset: Preset, seed: int) -> RunDir:
    """The dense network."""
    return work.trained(f"base-{setting.label}", _recipe(work, setting, preset, seed))


def _recipe(work: Work, setting: Setting, preset: Preset, seed: int, *more: Sequence[str]) -> Recipe:
    own = preset.sets.get(setting.name, ())
    return work.recipe(setting.recipe, seed, setting.sets, preset.sets["base"], own, *more)


def ticket(
    work: Work, setting: Setting, preset: Preset, seed: int, percent: int, control: str = ""
) -> RunDir:
    """Masked by the dense network's magnitudes, back at the first weights or as `control` says; trained."""
    shorter = preset.sets.get("controls", ())
    if control == REWOUND and not shorter:
        control = ""
    more = (*(shorter if control else ()), *(_FIVE if control == FIVE else ()))
    recipe = _recipe(work, setting, preset, seed, preset.sets["retrain"], more)
    label = f"ticket-{setting.label}-{percent}"
    if control:
        label += "-" + control.replace(" ", "_")
    if control == EARLY:
        return work.trained(label, recipe, _rewound_early(work, setting, preset, seed, percent))
    plan = Prune(pruner="magnitude", sparsity=percent / 100, rewind=control != NOT_REWOUND)
    return work.trained(label, recipe, base(work, setting, preset, seed), plan)


def _rewound_early(work: Work, setting: Setting, preset: Preset, seed: int, percent: int) -> RunDir:
    """The dense network after a few iterations, under the masks that it earns at the end."""
    recipe = _recipe(work, setting, preset, seed, _EARLY)
    first = work.trained(f"early-{setting.label}", recipe)
    whole = ticket(work, setting, preset, seed, percent)
    made, masks = work.last(first), work.last(whole).masks
    params = {n: p * masks[n] if n in masks else p for n, p in made.params.items()}
    return work.placed(f"masked-{setting.label}", replace(made, params=params, masks=masks), (first, whole))


def _measured(
    case: Case, preset: Preset, run: RunDir, scope: str, steps: tuple[int, ...], how: str, work: Work
) -> Measured:
    norm = "support" if how == "support" else ""
    return measured(work, run, preset, scope, steps, norm, case.upright if how == "upright" else None)


def _dense_cell(case: Case, setting: Setting, preset: Preset, seed: int, how: str, work: Work) -> Measured:
    return _measured(case, preset, base(work, setting, preset, seed), "all", case.steps, how, work)


def _ticket_cell(
    case: Case, setting: Setting, preset: Preset, seed: int, percent: int, scope: str,
    steps: tuple[int, ...], how: str, control: str, work: Work,
) -> Measured:  # fmt: skip
    run = ticket(work, setting, preset, seed, percent, control)
    return _measured(case, preset, run, scope, steps, how, work)


def _cells(case: Case) -> list[Cell]:
    """The paper's rows twice, for its own rule and the one that was trained; every scope; the controls."""
    made = []
    for setting in case.settings:
        name, column = setting.name, setting.column
        figures: list[Published | None] = [
            Published(value / 100, spread / 100) for value, spread in case.printed.get(name, ())
        ] or [None] * (1 + len(SPARSITIES))
        made.append(Cell(f"{name}/0", "dense", column, figures[0]))
        made += [Cell(f"{name}/0/{how}", "dense", column, grid=AGAIN[how]) for how in case.again(setting)]
        for percent, figure in zip(SPARSITIES, figures[1:], strict=True):
            for scope, words in MAIN.items():
                row = f"Meta-LTH {percent} %, {words}"
                if percent in SHOWN or not setting.brief:
                    made.append(Cell(f"{name}/{percent}/{scope}", row, column, figure))
                if percent in SHOWN:
                    made += [
                        Cell(f"{name}/{percent}/{scope}/{how}", row, column, grid=AGAIN[how])
                        for how in case.again(setting)
                    ]
            if percent in SCOPED and not setting.brief:
                made += [
                    Cell(f"{name}/{percent}/{scope}/{n}", words, f"{column}, {n} step{'s' * (n > 1)}",
                         grid=f"What the device moves, {percent} % pruned")
                    for scope, words in TOLD.items() for n in case.steps
                ]  # fmt: skip
    made += [
        Cell(f"{setting.name}/{percent}/{scope}/{control}", CONTROLS[control],
             f"{setting.column}, {MAIN[scope]}",
             grid=f"Where the {percent} % pruned one begins, trained equally long")
        for percent in SCOPED for setting in case.settings for control in case.controls(setting)
        for scope in MAIN
    ]  # fmt: skip
    return made


def _jobs(case: Case, preset: Preset) -> list[Job]:
    """What a preset has the time for: the settings and sparsities that it names, the controls last."""
    made = []
    chosen = [s for s in case.settings if s.name in preset.parts["settings"]]
    percents = [*map(int, preset.parts["percent"])]
    for setting in chosen:
        ways = ("", *case.again(setting))
        for number, seed in enumerate(setting.seeds or preset.seeds):
            for how in ways:
                run = partial(_dense_cell, case, setting, preset, seed, how)
                made.append(Job("/".join(filter(None, (setting.name, "0", how))), seed, run))
            for percent in (SCOPED if number else SHOWN) if setting.brief else percents:
                part = partial(_ticket_cell, case, setting, preset, seed, percent)
                own = f"{setting.name}/{percent}"
                for scope in MAIN:
                    for how in ways if percent in SHOWN else ("",):
                        run = partial(part, scope, case.steps, how, "")
                        made.append(Job("/".join(filter(None, (own, scope, how))), seed, run))
                if percent in SCOPED and not setting.brief:
                    made += [
                        Job(f"{own}/{scope}/{n}", seed, partial(part, scope, (n,), "", ""))
                        for scope in SCOPES for n in case.steps
                    ]  # fmt: skip
    asked = product(preset.seeds, [p for p in percents if p in SCOPED], chosen, MAIN)
    return made + [
        Job(f"{setting.name}/{percent}/{scope}/{control}", seed,
            partial(_ticket_cell, case, setting, preset, seed, percent, scope, case.steps, "", control))
        for seed, percent, setting, scope in asked for control in case.controls(setting)
    ]  # fmt: skip


def _claims(case: Case) -> tuple[Claim, ...]:
    ask = partial(Claim, published=False)
    name = case.settings[0].name
    own = f"{name}/90"
    return (
        Claim(f"90 % pruned is within 1.5 points of dense, as printed ({name}, pruned and head move)",
              f"{own}/plus_head", f"{name}/0", 0.015),
        Claim(f"90 % pruned is at least as accurate as 50 % ({name}, pruned and head move)",
              f"{own}/plus_head", f"{name}/50/plus_head"),
        Claim("moving pruned weights and head is at least as good as the rule that was trained "
              f"({name}, 90 %)",
              f"{own}/plus_head", f"{own}/kept"),
        ask(f"the rule that was trained keeps 90 % pruned within 1.5 points of dense ({name})",
            f"{own}/kept", f"{name}/0", 0.015),
        ask(f"the head alone is at least as good as all that was trained ({name}, 90 %, 1 step)",
            f"{own}/head alone/1", f"{own}/kept/1"),
        *(
            ask("90 % pruned, rewound, is at least as good as "
                f"{CONTROLS[control]} ({s.column}, {MAIN[scope]})",
                f"{s.name}/90/{scope}/{REWOUND}", f"{s.name}/90/{scope}/{control}")
            for s in case.settings for control in case.controls(s) if control != REWOUND for scope in MAIN
        ),
        *(
            ask(f"90 % pruned is within 1.5 points of dense ({other.column}, {words})",
                f"{other.name}/90/{scope}", f"{other.name}/0", 0.015)
            for other in case.settings if other.name not in case.printed for scope, words in MAIN.items()
        ),
        *(
            ask(f"90 % pruned is at least as accurate as 50 % ({other.column}, {words})",
                f"{other.name}/90/{scope}", f"{other.name}/50/{scope}")
            for other in case.settings if other.brief for scope, words in MAIN.items()
        ),
    )  # fmt: skip


def _line(setting: Setting, scope: str) -> tuple[tuple[float, str], ...]:
    percents = sorted(SHOWN if setting.brief else SPARSITIES)
    return ((0, f"{setting.name}/0"), *((p, f"{setting.name}/{p}/{scope}") for p in percents))


def table(case: Case) -> Table:
    """The table with its claims and charts."""
    name, most = case.settings[0].name, max(case.steps)
    lines = {
        f"{setting.column}, {words}": _line(setting, scope)
        for setting in case.settings
        if setting is case.settings[0] or setting.brief
        for scope, words in MAIN.items()
    }
    curves = {words: f"{name}/90/{scope}/{most}" for scope, words in TOLD.items()}
    return Table(
        name=case.name,
        title=case.title,
        paper=f"{PAPER}, table {case.number}",
        metric="accuracy",
        cells=tuple(_cells(case)),
        tolerance=0.015,
        claims=_claims(case),
        differs=case.differs,
        presets=case.presets,
        jobs=partial(_jobs, case),
        charts=(
            Chart("sparsity", "weights removed, %", lines),
            Chart("steps", f"steps on the device ({name}, 90 % pruned)", curves=curves),
        ),
        needs=case.needs,
        remarks=case.remarks,
    )
