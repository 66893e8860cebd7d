"""What keeping activations in fp16 costs in accuracy: one pruned network, two plans, the same episodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import regrow
from regrow.episodes import open_source
from regrow.evaluate import Sizes, evaluate

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "glyphs-5w1s-maml.toml"
# A minute or two of training: well above chance, and better adapted than not. Layers halve by pooling, since
# inputs of such layers wait in fp16 without ever being whole.
TRAIN = (
    *("train.iterations=150", "train.lr=5e-3", "train.tasks=4", "validation.every=75"),
    *("validation.episodes=40", "backbone.args.downsample=pool", "learner.steps=3", "rule.args.lr=0.2"),
)
PRUNE = ("--sparsity", "0.9", "--pruner", "magnitude", "--scope", "global", "--retrain", "100")
SIZES: Sizes = {"n_way": 5, "k_shot": 1, "queries": 15, "episodes": 400, "seed": 0}


def bundle(folder: Path) -> Path:
    """A Conv4-32 of glyphs, nine weights in ten pruned; what is there already is not made again."""
    made = {"base": folder / "base/best.safetensors", "pruned": folder / "pruned/best.safetensors"}
    settings = [word for setting in TRAIN for word in ("--set", setting)]
    steps = [
        (made["base"], ["train", str(RECIPE), *settings, "-o", str(folder / "base")]),
        (made["pruned"], ["prune", str(made["base"]), *PRUNE, "-o", str(folder / "pruned")]),
        (folder / "m.regrow", ["export", str(made["pruned"]), "-o", str(folder / "m.regrow")]),
    ]
    for result, words in steps:
        if not result.exists():
            subprocess.run([sys.executable, "-m", "regrow", *words], check=True, stdout=sys.stderr)
    return steps[-1][0]


def accuracy(folder: Path) -> dict[str, Any]:
    """Accuracy in points under each plan, and the difference on the same episodes."""
    path, source = bundle(folder), open_source("glyphs:test")
    scores, arena = {}, {}
    for plan in ("small", "small-fp16"):
        model = regrow.open(path, engine="native", plan=plan)
        arena[plan] = model.peak_bytes(SIZES["n_way"] * SIZES["k_shot"])
        scores[plan] = evaluate(model, source, **SIZES).scores * 100
    before = evaluate(model, source, steps=0, **SIZES).scores * 100
    off = scores["small-fp16"] - scores["small"]
    mean, half = float(off.mean()), 1.96 * float(off.std(ddof=1)) / len(off) ** 0.5
    return {
        "sizes": SIZES,
        "unadapted": float(before.mean()),
        "adapted": {plan: float(made.mean()) for plan, made in scores.items()},
        "difference": {"mean": mean, "low": mean - half, "high": mean + half},
        "episodes_that_differ": float(np.count_nonzero(off) / len(off)),
        "largest": float(np.abs(off).max()),
        "arena_bytes": arena,
    }
