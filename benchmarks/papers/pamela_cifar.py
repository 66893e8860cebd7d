"""PAMELA's classification of CIFAR-FS."""

from __future__ import annotations

from benchmarks.papers.pamela import FOMAML, FULL, MAML, META_SGD, PAMELA, Case, table
from benchmarks.papers.table import Preset

TABLE = table(Case(
    name="pamela_cifar",
    data="CIFAR-FS",
    printed={
        MAML: ((0.589, 0.019), (0.715, 0.019)),
        FOMAML: ((0.556, 0.009), (0.702, 0.007)),
        META_SGD: ((0.569, 0.009), (0.701, 0.007)),
        PAMELA: ((0.635, 0.009), (0.791, 0.007)),
    },
    cited={
        "Meta-LSTM (not here)": ((0.434, 0.008), (0.606, 0.007)),
        "R2D2 (not here)": ((0.623, 0.002), (0.774, 0.002)),
    },
    differs=(
        "The paper names neither iterations nor a schedule; ours is a cosine. The rows of MAML, FOMAML and "
        "Meta-SGD in the paper are literature's figures, here they are trained as PAMELA is.",
    ),
    presets={
        "cpu": Preset(
            "Conv4 with 32 channels and strides, 5 queries per class, 1,200 iterations of 4 tasks", (0,), 600,
            {"train": (
                "backbone.args.width=32", "backbone.args.downsample=stride", "queries=5",
                "iterations=1200", "validation.every=600", "validation.queries=5",
            )},
        ),
        "gpu": FULL,
    },
    remarks=(
        "4,800 tasks are a fiftieth of the full preset's, so that no figure can be that of the paper. The "
        "order is its own, but for Meta-SGD, which one step takes as far; MAML at ten times its rate is as "
        "far from PAMELA as Meta-SGD is: most of what is won over MAML is won by larger rates, as on sine "
        "waves."
    ),
))  # fmt: skip
