"""The page and its parts, read once at the start. A request picks from this table, not from a disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    data: bytes
    type: str
    etag: str


def assets() -> dict[str, Asset]:
    """Every file under `static`, by name."""
    made = {}
    for entry in resources.files("regrow.serve").joinpath("static").iterdir():
        kind = TYPES.get("." + entry.name.rpartition(".")[2])
        if kind is not None:
            data = entry.read_bytes()
            made[entry.name] = Asset(data, kind, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
    return made
