"""Meta-LTH, tables 1 and 2: FC100, and mini-ImageNet for whoever has its pictures."""

from __future__ import annotations

from benchmarks.papers.meta_lth import BASE, SPARSITIES, Case, Setting, table
from benchmarks.papers.pictures import pictures
from benchmarks.papers.table import Preset

_PRINTED = {
    "fc100": (
        ((37.76, 0.15), (50.06, 1.03)), ((38.45, 0.25), (52.02, 0.07)), ((36.94, 0.21), (49.02, 1.09)),
        ((36.88, 1.05), (48.78, 0.91)), ((36.46, 0.32), (47.96, 1.11)), ((36.36, 1.61), (47.68, 0.03)),
    ),
    "mini_imagenet": (
        ((48.07, 1.75), (63.15, 0.91)), ((45.08, 0.31), (64.81, 1.12)), ((46.00, 1.08), (58.24, 1.00)),
        ((46.09, 0.95), (56.77, 1.09)), ((45.94, 1.28), (56.85, 0.66)), ((46.54, 0.49), (53.96, 0.17)),
    ),
}  # fmt: skip
_GPU = Preset(
    "full length: 15,000 iterations of 16 tasks, 6,000 after rewinding, three seeds",
    (0, 1, 2), 600,
    {"base": (*BASE, "train.iterations=15000"), "retrain": ("train.iterations=6000",)},
    {"settings": ("5w1s", "5w5s"), "percent": tuple(map(str, SPARSITIES))},
)  # fmt: skip
_CPU = Preset(
    "about a quarter of an hour of one core: 5w1s at 90 %, 32 channels and strides, 5 queries per class, "
    "1,500 iterations of 8 tasks, as many after rewinding, one seed",
    (0,), 600,
    {
        "base": (*BASE, "backbone.args.width=32", "backbone.args.downsample=stride", "queries=5",
                 "iterations=1500", "tasks=8", "chunk=8", "train.lr=2e-3", "validation.queries=5"),
        "retrain": (),
    },
    {"settings": ("5w1s",), "percent": ("90",)},
)  # fmt: skip
_DIFFERS = (
    "Training takes one inner step of 0.4, as the paper's rate and the code that it builds on have it. Rate "
    "and steps on the device are chosen on validation classes, its 0.01 and ten steps among them.",
    "The paper's length of the first training is told for mini-ImageNet alone; FC100 is given the same.",
    "Trainings end at a fixed length and the last state counts, not the best validated.",
)


def _case(
    source: str, title: str, number: int, presets: dict[str, Preset], *more: str, remarks: str = ""
) -> Case:
    sets = (*pictures(source), "rule.args.lr=0.4", "steps=1", "tasks=16", "chunk=16")
    rows = _PRINTED[source]
    return Case(
        name=f"meta_lth_{source}",
        title=f"Meta-LTH on {title}",
        number=number,
        settings=(
            Setting("5w1s", "cifar-5w1s-fomaml", sets, source),
            Setting("5w5s", "cifar-5w1s-fomaml", (*sets, "k_shot=5"), source),
        ),
        printed={name: tuple(pair[i] for pair in rows) for i, name in enumerate(("5w1s", "5w5s"))},
        steps=(1, 10),
        differs=(*_DIFFERS, *more),
        presets=presets,
        needs=() if "cpu" in presets else (source,),
        remarks=remarks,
    )


TABLES = (
    table(_case(
        "fc100", "FC100", 1, {"cpu": _CPU, "gpu": _GPU},
        "The packed pictures are 300 of 600 of the classes that CIFAR-FS trains on; the official archive has "
        "all, and is read where it is there.",
        remarks="After a twentieth of the full preset's tasks dense is within four points of what is "
        "printed, and 90 % pruned, moving what was trained, within 1.5 of dense. Moving pruned weights and "
        "head is worse; five inner steps of 0.1 in training mend that, and are the best of all here, dense "
        "included.",
    )),
    table(_case(
        "mini_imagenet", "mini-ImageNet", 2, {"gpu": _GPU},
        "The paper's FOMAML row is, figure for figure, that of earlier papers; ours is trained here.",
    )),
)  # fmt: skip
