"""Few-shot episodes: sources of samples, a deterministic sampler, readers of a user's files. numpy only."""

from regrow.episodes.batches import Batch, stack
from regrow.episodes.sampler import episodes, sample
from regrow.episodes.source import (
    SOURCES,
    ClassSource,
    Episode,
    GroupSource,
    Source,
    Targets,
    TaskSource,
    open_classes,
    open_source,
)

__all__ = [
    "SOURCES",
    "Batch",
    "ClassSource",
    "Episode",
    "GroupSource",
    "Source",
    "Targets",
    "TaskSource",
    "episodes",
    "open_classes",
    "open_source",
    "sample",
    "stack",
]
