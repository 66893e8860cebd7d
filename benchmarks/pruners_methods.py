"""What the benchmark of the pruners runs: methods, their rivals as published and as fair, and the data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

SPARSITIES = (0.3, 0.5, 0.8, 0.85, 0.9, 0.95)
DATA: dict[str, list[str]] = {
    "glyphs": [],
    "omniglot": [f"data.{part}=omniglot:{split}" for part, split in
                 (("train", "train"), ("validation", "val"), ("test", "test"))],
}  # fmt: skip


class Method(NamedTuple):
    """The keys of [prune], those of the rest of the recipe, and at which sparsities it is run."""

    prune: dict[str, Any]
    sets: tuple[str, ...] = ()
    at: Sequence[float] = SPARSITIES  # the controls' may be fewer
    channels: bool = False
    longer: bool = False  # it begins anew, so it gets the dense network's training on top


ONE_TASK = ("train.task_pool=1", "train.tasks=1", "train.chunk=1")
METHODS: dict[str, Method] = {
    "random": Method({"pruner": "random"}, at=(0.5, 0.85)),
    "magnitude": Method({"pruner": "magnitude"}),
    "magnitude, one task": Method({"pruner": "magnitude"}, ONE_TASK, at=(0.5, 0.85, 0.95)),
    "L-OBS": Method({"pruner": "l-obs", "args": {"tasks": 64}}),
    "L-OBS, one task": Method({"pruner": "l-obs", "args": {"tasks": 1}}, ONE_TASK, at=(0.5, 0.85, 0.95)),
    "ANP": Method({"pruner": "anp", "args": {"tasks": 64}}),
    "ANP, not repaired": Method({"pruner": "anp", "args": {"tasks": 64, "repair": False}}, at=(0.85,)),
    "ANP, global": Method({"pruner": "anp", "args": {"tasks": 64}, "scope": "global"}, at=(0.85, 0.95)),
    "ANP, first layer whole": Method(
        {"pruner": "anp", "args": {"tasks": 64}, "spare": ["blocks.0.*"]}, at=(0.85,)
    ),
    "L-OBS, first layer whole": Method(
        {"pruner": "l-obs", "args": {"tasks": 64}, "spare": ["blocks.0.*"]}, at=(0.85,)
    ),
    "magnitude, first layer whole": Method({"pruner": "magnitude", "spare": ["blocks.0.*"]}, at=(0.85,)),
    "Fisher, global": Method({"pruner": "fisher", "scope": "global"}, at=(0.85, 0.95)),
    "Meta-LTH": Method(
        {"pruner": "magnitude", "schedule": "oneshot", "rewind": True},
        ("learner.adaptable=['*']",),
        at=(0.9,),
        longer=True,
    ),
    "channels, Taylor": Method({"pruner": "taylor"}, at=(0.5, 0.8), channels=True),
    "channels, ANP": Method({"pruner": "anp", "args": {"tasks": 64}}, at=(0.5, 0.8), channels=True),
}
