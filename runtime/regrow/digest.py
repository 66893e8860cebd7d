"""SHA-256 without OpenSSL where there is little to digest: to load that takes more memory than a bundle."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

# Bytes up to which the interpreter's own, slower per byte, is done about when OpenSSL would be loaded.
LITTLE = 2**20
# Where the interpreter has its own: from 3.12 on, before, and built without one.
_OWN = ("_sha2", "_sha256", "hashlib")


class Digest(Protocol):
    """What takes bytes in and says what they come to."""

    def update(self, data: Any, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


def sha256(size: int) -> Digest:
    """A digest that so many bytes will go into."""
    for name in _OWN if size <= LITTLE else _OWN[-1:]:
        try:
            made: Digest = import_module(name).sha256()
        except ImportError:
            continue
        return made
    raise AssertionError("hashlib is part of every Python")
