"""ANP, tables 2 to 11: mini-ImageNet and CUB-200, for whoever has their pictures and a GPU; and CIFAR-FS."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from benchmarks.papers import anp
from benchmarks.papers.pictures import PHOTOGRAPHS, REPTILE, pictures
from benchmarks.papers.table import Claim, Preset, Published, Table

# ANP: setting, dense accuracy, then by sparsity magnitude, L-OBS (both on one target task) and ANP.
_ANP = {
    2: ("Conv4, MAML, mini-ImageNet, 5w1s", 48.05, {
        30: (41.16, 39.52, 47.34), 50: (40.55, 35.72, 47.29),
        80: (36.46, 33.77, 47.06), 85: (33.40, 30.22, 47.09)}),
    3: ("Conv4, MAML, CUB, 5w1s", 45.54, {
        30: (40.02, 38.67, 44.82), 50: (39.56, 36.96, 44.57),
        80: (40.29, 34.50, 44.69), 85: (38.53, 32.19, 44.59)}),
    4: ("Conv4, MAML, mini-ImageNet, 5w5s", 62.17, {
        30: (56.28, 54.35, 62.28), 50: (55.05, 51.27, 61.21),
        80: (50.48, 46.45, 61.90), 85: (44.44, 40.82, 61.19)}),
    5: ("Conv4, MAML, CUB, 5w5s", 61.04, {
        30: (52.21, 47.07, 60.39), 50: (51.92, 43.64, 60.78),
        80: (50.84, 43.85, 60.15), 85: (50.24, 43.52, 60.07)}),
    6: ("ResNet-12, MAML, mini-ImageNet, 5w1s", 50.76, {
        30: (43.45, 43.77, 51.50), 50: (42.93, 43.07, 50.87),
        80: (38.63, 30.36, 50.45), 90: (36.60, 29.89, 49.94)}),
    7: ("ResNet-12, MAML, CUB, 5w1s", 51.59, {
        30: (46.43, 44.00, 51.02), 50: (40.98, 39.04, 50.67),
        80: (34.50, 33.00, 50.61), 85: (32.00, 30.09, 50.60)}),
    8: ("Conv4, CAVIA, mini-ImageNet, 5w1s", 47.56, {
        30: (38.71, 37.86, 46.74), 50: (34.87, 34.32, 47.71),
        80: (32.14, 23.86, 46.59), 85: (27.76, 20.86, 46.57)}),
    9: ("Conv4, CAVIA, CUB, 5w1s", 47.32, {
        30: (41.77, 40.67, 47.15), 50: (41.39, 40.24, 47.03),
        80: (38.33, 37.28, 46.73), 85: (37.91, 37.26, 46.85)}),
    10: ("Conv4, Reptile, mini-ImageNet, 5w1s", 48.40, {
        30: (41.03, 40.89, 48.51), 50: (38.34, 35.15, 47.98),
        80: (31.55, 29.03, 47.54), 85: (29.94, 28.34, 47.61)}),
    11: ("Conv4, Reptile, CUB, 5w1s", 45.19, {
        30: (42.39, 40.36, 44.92), 50: (38.94, 36.43, 45.41),
        80: (33.31, 31.48, 44.45), 85: (31.24, 29.59, 44.30)}),
}  # fmt: skip
_SOURCES = {"mini-ImageNet": "mini_imagenet", "CUB": "cub"}


class Learner(NamedTuple):
    """What a table's networks are trained by, how long, and what is never pruned."""

    recipe: str
    iterations: int
    sets: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()


_LEARNERS = {
    "Conv4, MAML": Learner("cifar-5w1s-maml", 80000, ("backbone.args.width=32",)),
    "ResNet-12, MAML": Learner("cifar-5w1s-maml", 100000, ('backbone={ name = "resnet12" }',)),
    "Conv4, CAVIA": Learner(
        "omniglot-5w1s-cavia", 200000,
        (*PHOTOGRAPHS, "backbone.args={ width = 32, context = 100, context_at = 3 }"), ("*film*",),
    ),
    "Conv4, Reptile": Learner(
        "omniglot-5w1s-reptile", 100000, (*PHOTOGRAPHS, "backbone.args={ width = 32 }", *REPTILE)
    ),
}  # fmt: skip
_ROWS = {"magnitude-own": 0, "l-obs-own": 1, "anp": 2}  # where the paper prints a row
_BASE = ("learner.batch_norm=transductive",)
_RIVALS = "The paper's rivals see one target task only; rows with meta-retraining are controls that it lacks."


def _claims(percent: int) -> tuple[Claim, ...]:
    own = f"{percent}/anp"
    return (
        Claim(f"ANP at {percent} % is within one point of dense", own, "0", 0.01),
        *(
            Claim(f"ANP is better than {row.words} ({percent} %)", own, f"{percent}/{key}",
                  published=row.one_task)
            for key, row in anp.rows(1).items() if key != "anp"
        ),
    )  # fmt: skip


def _table(number: int) -> Table:
    setting, dense, printed = _ANP[number]
    network, name, data, shots = setting.split(", ")
    learner, source = _LEARNERS[f"{network}, {name}"], _SOURCES[data]
    case = anp.Case(
        label=f"{network}-{name}-{source}-{shots}-{{}}{{}}".lower(),
        recipe=learner.recipe,
        rows=anp.rows(64),
        sparsities=tuple(printed),
        sets=(*pictures(source), *learner.sets, f"k_shot={shots[2]}"),
        own=f"{source}:test",
        spare=learner.spare,
        dense=Published(dense / 100),
        printed={
            (p, key): Published(values[at] / 100)
            for p, values in printed.items()
            for key, at in _ROWS.items()
        },
    )
    length = f"train.iterations={learner.iterations}"
    return Table(
        name=f"anp_{number}",
        title=f"ANP: {setting}",
        paper=f"{anp.PAPER}, table {number}",
        metric="accuracy",
        cells=anp.cells(case),
        claims=_claims(max(printed)),
        differs=(
            "The paper retrains until convergence; here every row has 10,000 iterations, the dense one too.",
            _RIVALS,
        ),
        presets={
            "gpu": Preset(
                f"{learner.iterations:,} iterations, 10,000 more in up to nine rounds, three seeds",
                (0, 1, 2), 600,
                {"base": (*_BASE, length), "retrain": ("train.iterations=10000",)},
                {"percent": tuple(map(str, reversed(printed)))},
            )
        },
        jobs=partial(anp.jobs, case),
        charts=(anp.chart(case),),
        needs=(source,),
    )  # fmt: skip


_CIFAR = anp.Case(
    label="cifar-{}{}",
    recipe="cifar-5w1s-maml",
    rows=anp.rows(64),
    sparsities=(30, 50, 80, 85),
    sets=("backbone.args.width=32",),
    own="cifar_fs:test",
    comparable=False,
)
CIFAR = Table(
    name="anp_cifar",
    title="ANP on CIFAR-FS, MAML",
    paper=f"{anp.PAPER}: the claims of tables 2 to 11",
    metric="accuracy",
    cells=anp.cells(_CIFAR),
    claims=_claims(85),
    differs=(
        "CIFAR-FS in place of mini-ImageNet and CUB: claims are held side by side, not figures.",
        _RIVALS,
    ),
    presets={
        "cpu": Preset(
            "about half an hour of one core: strides, 5 queries per class, 1,200 iterations of 4 tasks and "
            "600 more, 85 %, one seed",
            (0,), 600,
            {
                "base": (*_BASE, "backbone.args.downsample=stride", "queries=5", "iterations=1200",
                         "validation.every=600", "validation.queries=5"),
                "retrain": ("train.iterations=600",),
            },
            {"percent": ("85",)},
        ),
        "gpu": Preset(
            "80,000 iterations of 4 tasks, 10,000 more in up to nine rounds, three seeds",
            (0, 1, 2), 600,
            {"base": (*_BASE, "train.iterations=80000"), "retrain": ("train.iterations=10000",)},
            {"percent": ("85", "80", "50", "30")},
        ),
    },
    jobs=partial(anp.jobs, _CIFAR),
    charts=(anp.chart(_CIFAR),),
)  # fmt: skip
TABLES = (CIFAR, *map(_table, _ANP))
