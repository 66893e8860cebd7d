"""GEMS' table 2 on pictures that are here: characters and photographs."""

from __future__ import annotations

from benchmarks.papers.gems import FULL, Case, table
from benchmarks.papers.table import Preset

TABLE = table(Case(
    name="gems_mixture",
    title="two kinds of pictures",
    kinds={"characters": ("data.args.only=0",), "photographs": ("data.args.only=1",)},
    differs=(
        "CUB-200, VGG Flowers, Fungi and Aircraft are absent: Omniglot characters and CIFAR-FS photographs, "
        "in grey at 28 x 28, stand in, so that the claims can be held side by side and no figure can.",
        "Inner steps of 0.1 and an outer rate of 1e-3, where the paper has 0.01 and 1e-4.",
    ),
    presets={
        "cpu": Preset(
            "Conv4 with 16 channels and strides, 5 queries per class, 1,000 iterations of 5 tasks", (0,), 600,
            {
                "train": ("queries=5", "iterations=1000", "validation.every=500", "validation.queries=5"),
                "plain": ("backbone.args.width=16", "backbone.args.downsample=stride"),
                "mmsup": ("backbone.args.args.width=16", "backbone.args.args.downsample=stride"),
            },
        ),
        "gpu": FULL,
    },
    remarks=(
        "A learner of characters alone is ahead of one for both, which the paper has, too; neither BMP nor "
        "MMSUP makes up for any of it, where the paper has both do so. Photographs are hardly told apart by "
        "anybody after so short a training, and decide nothing. A learner for both has 5,000 tasks, of each "
        "kind half as many as its own learner: twice as long, one MAML makes up half of the distance."
    ),
))  # fmt: skip
