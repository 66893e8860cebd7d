"""What a file given on the command line is, and what data it was made with. Needs no torch."""

from __future__ import annotations

from typing import Any

from regrow import bundle, checkpoint, container
from regrow.errors import RegrowError


def is_checkpoint(path: str) -> bool:
    """A checkpoint, or else a bundle; anything else is refused."""
    kind = container.read(path).metadata
    if "regrow_checkpoint" not in kind and "regrow" not in kind:
        raise RegrowError(f"{path}: is neither a bundle nor a checkpoint; give what regrow wrote")
    return "regrow_checkpoint" in kind


def data_of(path: str) -> dict[str, Any]:
    """The [data] of its recipe, as far as the file says."""
    made = checkpoint.read(path).recipe if is_checkpoint(path) else bundle.read(path).manifest.provenance
    return {"args": {}, **made.get("data", {})}
