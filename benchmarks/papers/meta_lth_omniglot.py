"""Meta-LTH, table 3: Omniglot, 5 and 20 ways, 1 and 5 shots."""

from __future__ import annotations

from benchmarks.papers.meta_lth import BASE, NOT_REWOUND, REWOUND, SPARSITIES, Case, Setting, table
from benchmarks.papers.table import Preset

_MAML = ("train.strategy=second_order",)
SETTINGS = (
    Setting("5w1s", "omniglot-5w1s-fomaml"),
    Setting("5w5s", "omniglot-5w1s-fomaml", ("data.k_shot=5",)),
    Setting("20w1s", "omniglot-20w1s-fomaml"),
    Setting("20w5s", "omniglot-20w1s-fomaml", ("data.k_shot=5",)),
    # What of the distance to the printed figures is first order's.
    Setting("5w1s-maml", "omniglot-5w1s-fomaml", _MAML, told="5w1s by MAML", controls=(REWOUND, NOT_REWOUND)),
    # What of that is schedule and seed.
    Setting(
        "5w1s-maml-third",
        "omniglot-5w1s-fomaml",
        _MAML,
        told="5w1s by MAML, a third as long",
        brief=True,
        seeds=(0, 1, 2),
        runs="5w1s-maml",
    ),
)
PRINTED: dict[str, tuple[tuple[float, float], ...]] = {
    "5w1s": ((98.3, 0.5), (97.77, 0.21), (97.74, 0.32), (97.61, 0.81), (97.52, 0.06), (96.58, 0.22)),
    "5w5s": ((99.2, 0.2), (99.36, 0.36), (99.30, 0.06), (99.29, 0.04), (99.10, 0.01), (98.99, 0.21)),
    "20w1s": ((89.4, 0.5), (91.68, 0.29), (93.57, 0.17), (93.75, 0.03), (93.11, 0.06), (92.44, 0.01)),
    "20w5s": ((97.9, 0.1), (97.70, 0.11), (98.08, 0.04), (98.36, 0.55), (98.36, 0.07), (97.91, 0.05)),
}
CASE = Case(
    name="meta_lth_omniglot",
    title="Meta-LTH on Omniglot",
    number=3,
    settings=SETTINGS,
    printed=PRINTED,
    steps=(1, 5),
    upright={"rotations": "none"},
    differs=(
        "The paper names 1200 training characters; 172 of them are held back here, and choose the rate and "
        "the number of steps of every rule. The 423 test characters are those of the paper.",
        "A character turned by quarters is a class of its own, in test episodes too, where the paper's code "
        "may turn none.",
        "Convolutions have strides in place of pooling, and training episodes 5 queries per class.",
        "The paper's FOMAML row is, figure for figure, that of earlier papers; ours is trained here.",
        "Trainings end at a fixed length and the last state counts, not the best validated.",
    ),
    presets={
        "cpu": Preset(
            "three and a half hours of one core: 5w1s, one seed, 24,000 iterations of 8 tasks, as many after "
            "rewinding, which is the paper's 192,000 tasks there and a tenth of its 1.9 million before; "
            "MAML a third as long as well, with three seeds, and at 50 %; where a pruned network begins is "
            "compared over 3,000; 5 shots, 20 ways and the sparsities between are left to a GPU",
            (0,), 600,
            {
                "retrain": (),
                "controls": ("train.iterations=3000", "validation.every=3000"),
                "5w1s-maml-third": ("train.iterations=8000",),
                "base": (*BASE, "train.iterations=24000", "train.tasks=8", "train.chunk=8", "train.lr=5e-3",
                         "validation.every=4000"),
            },
            {"settings": ("5w1s", "5w1s-maml", "5w1s-maml-third"), "percent": ("90",)},
        ),
        "gpu": Preset(
            "full length: 60,000 iterations of 32 tasks, 6,000 after rewinding, three seeds",
            (0, 1, 2), 600,
            {
                "base": (*BASE, "train.iterations=60000", "train.tasks=32", "train.chunk=32"),
                "retrain": ("train.iterations=6000",),
            },
            {
                "settings": tuple(s.name for s in SETTINGS if not s.brief),
                "percent": tuple(map(str, SPARSITIES)),
            },
        ),
    },
    remarks=(
        "Dense, what is far from the printed figure is so by first order and by length: FOMAML of one inner "
        "step, given three times as many tasks, stays below MAML, which comes within a point or so of what "
        "is printed. Pruned to 90 %, every network here loses several points that it does not get back, by "
        "either learner, under every seed and at three times the length, whatever the device moves. Half of "
        "the weights can go for nothing, so that fewer weights being better, which the paper's rows say, is "
        "not seen. Under MAML moving the pruned weights and the head is as good as moving all that was "
        "trained, and so is the head alone: what else moves hardly matters. Under FOMAML it is far worse. "
        "Where a pruned network begins matters under FOMAML: the very first weights, as published, are the "
        "worst of all, 500 iterations later much is gained, by five inner steps too, and training on from "
        "the last weights is best; under MAML little depends on it. Upright test characters are no easier "
        "than turned ones. Tried as well, on validation classes (`docs/decisions.md`): inner rates of 1 and "
        "2, three inner steps, outer rates, and for every rule the rate and number of steps on the device; "
        "norms by the support set alone stand above."
    ),
)  # fmt: skip
TABLE = table(CASE)
