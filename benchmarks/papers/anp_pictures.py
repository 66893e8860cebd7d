"""ANP, tables 2 to 11: mini-ImageNet and CUB-200, for whoever has their pictures and a GPU; and CIFAR-FS."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from benchmarks.papers import anp
from benchmarks.papers.pictures import PHOTOGRAPHS, REPTILE, pictures
from benchmarks.papers.table import Claim, Preset, Published, Table

# ANP: setting, dense accuracy and spread, then by sparsity magnitude's, L-OBS's (both on one target task) and
# ANP's. The paper prints spreads as fractions.
_ANP = {
    2: ("Conv4, MAML, mini-ImageNet, 5w1s", (48.05, 0.53), {
        30: ((41.16, 0.81), (39.52, 0.63), (47.34, 1.36)),
        50: ((40.55, 0.88), (35.72, 0.27), (47.29, 1.11)),
        80: ((36.46, 1.89), (33.77, 0.57), (47.06, 1.65)),
        85: ((33.40, 0.36), (30.22, 0.34), (47.09, 1.06)),
    }),
    3: ("Conv4, MAML, CUB, 5w1s", (45.54, 1.20), {
        30: ((40.02, 0.98), (38.67, 2.41), (44.82, 0.60)),
        50: ((39.56, 1.75), (36.96, 1.31), (44.57, 1.28)),
        80: ((40.29, 1.71), (34.50, 1.45), (44.69, 1.05)),
        85: ((38.53, 0.70), (32.19, 2.68), (44.59, 0.93)),
    }),
    4: ("Conv4, MAML, mini-ImageNet, 5w5s", (62.17, 1.17), {
        30: ((56.28, 0.85), (54.35, 0.83), (62.28, 0.37)),
        50: ((55.05, 2.07), (51.27, 1.39), (61.21, 1.00)),
        80: ((50.48, 1.38), (46.45, 1.43), (61.90, 1.03)),
        85: ((44.44, 0.45), (40.82, 0.85), (61.19, 0.20)),
    }),
    5: ("Conv4, MAML, CUB, 5w5s", (61.04, 2.68), {
        30: ((52.21, 2.08), (47.07, 1.25), (60.39, 2.16)),
        50: ((51.92, 1.66), (43.64, 1.57), (60.78, 1.40)),
        80: ((50.84, 2.12), (43.85, 3.44), (60.15, 1.55)),
        85: ((50.24, 0.73), (43.52, 1.91), (60.07, 0.36)),
    }),
    6: ("ResNet-12, MAML, mini-ImageNet, 5w1s", (50.76, 1.23), {
        30: ((43.45, 0.58), (43.77, 1.17), (51.50, 0.28)),
        50: ((42.93, 1.02), (43.07, 0.98), (50.87, 0.77)),
        80: ((38.63, 1.38), (30.36, 1.85), (50.45, 1.60)),
        90: ((36.60, 2.42), (29.89, 1.56), (49.94, 1.28)),
    }),
    7: ("ResNet-12, MAML, CUB, 5w1s", (51.59, 1.51), {
        30: ((46.43, 1.34), (44.00, 2.13), (51.02, 2.31)),
        50: ((40.98, 2.50), (39.04, 1.15), (50.67, 1.44)),
        80: ((34.50, 1.12), (33.00, 2.03), (50.61, 0.70)),
        85: ((32.00, 3.51), (30.09, 1.95), (50.60, 1.75)),
    }),
    8: ("Conv4, CAVIA, mini-ImageNet, 5w1s", (47.56, 0.76), {
        30: ((38.71, 1.45), (37.86, 1.48), (46.74, 1.40)),
        50: ((34.87, 0.72), (34.32, 1.18), (47.71, 1.69)),
        80: ((32.14, 0.60), (23.86, 1.00), (46.59, 1.03)),
        85: ((27.76, 1.56), (20.86, 0.99), (46.57, 2.23)),
    }),
    9: ("Conv4, CAVIA, CUB, 5w1s", (47.32, 2.35), {
        30: ((41.77, 1.76), (40.67, 1.73), (47.15, 2.39)),
        50: ((41.39, 1.96), (40.24, 2.11), (47.03, 2.69)),
        80: ((38.33, 2.25), (37.28, 2.37), (46.73, 1.63)),
        85: ((37.91, 1.83), (37.26, 1.52), (46.85, 1.85)),
    }),
    10: ("Conv4, Reptile, mini-ImageNet, 5w1s", (48.40, 0.51), {
        30: ((41.03, 0.74), (40.89, 2.13), (48.51, 1.51)),
        50: ((38.34, 2.03), (35.15, 0.84), (47.98, 1.30)),
        80: ((31.55, 1.34), (29.03, 0.93), (47.54, 0.34)),
        85: ((29.94, 2.41), (28.34, 1.24), (47.61, 2.10)),
    }),
    11: ("Conv4, Reptile, CUB, 5w1s", (45.19, 1.95), {
        30: ((42.39, 3.01), (40.36, 1.54), (44.92, 1.02)),
        50: ((38.94, 0.13), (36.43, 1.36), (45.41, 1.67)),
        80: ((33.31, 0.93), (31.48, 1.03), (44.45, 1.12)),
        85: ((31.24, 0.35), (29.59, 1.34), (44.30, 2.44)),
    }),
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


def _published(figure: tuple[float, float]) -> Published:
    return Published(figure[0] / 100, figure[1] / 100)


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
        dense=_published(dense),
        printed={
            (p, key): _published(values[at]) for p, values in printed.items() for key, at in _ROWS.items()
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
    paper=f"{anp.PAPER}: the claims of tables 2 to 5",
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
