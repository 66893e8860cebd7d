"""Tokens: 256 random bits shown once, kept as a hash, compared in constant time. Knows no passwords."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from regrow.errors import RegrowError
from regrow.serve import records
from regrow.serve.store import Store

PREFIX = "regrow_"
# How old the list of tokens may be: a token made or revoked by another process counts after this.
REFRESH = 2.0


def create(store: Store, name: str) -> str:
    """Make a token; this is the only time it is seen."""
    token = PREFIX + secrets.token_urlsafe(32)
    with store.transaction() as db:
        made = records.add_token(db, name, _hash(token), time.time())
    if not name or not made:
        raise RegrowError(f"token {name!r}: exists already or is empty, expected a new name; revoke it first")
    return token


def revoke(store: Store, name: str) -> None:
    """Make a token worthless. What its owner stored stays, for a new token of the same name."""
    if not store.erase(lambda db: records.drop_token(db, name)):
        raise RegrowError(f"token {name!r}: not found, expected the name of a token; check the spelling")


def erase_owner(store: Store, name: str) -> bool:
    """Erase all that an owner has stored, from the disk too; False while a backup still reads the log."""
    if not store.erase(lambda db: records.drop_owner(db, name)):
        raise RegrowError(f"owner {name!r}: owns nothing, expected the name of a token; check the spelling")
    return store.settle()


def _hash(token: str) -> bytes:
    # The token is random and long, so one round without salt cannot be searched.
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """The hashes, read again every few seconds. Where one is `required`, revoking the last lets nobody in."""

    def __init__(self, store: Store, *, required: bool = False) -> None:
        self._store, self._required = store, required
        self._hashes: list[tuple[str, bytes]] = []
        self.refresh()

    @property
    def stale(self) -> bool:
        """Whether it is time to `refresh`, which reads the disk."""
        return time.monotonic() - self._read >= REFRESH

    def refresh(self) -> None:
        """Read the hashes."""
        with self._store.reading() as db:
            self._hashes = records.tokens(db)
        self._read = time.monotonic()

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._hashes)

    def owner(self, header: str | None) -> str | None:
        """Whose token an Authorization header carries; "" where none is needed, None where it is wrong."""
        hashes = self._hashes
        if not hashes and not self._required:
            return ""
        kind, _, token = (header or "").partition(" ")
        given = _hash(token.strip()) if kind.lower() == "bearer" else b""
        # Every hash is compared, so the time says nothing about which was near.
        found = [name for name, hash in hashes if hmac.compare_digest(hash, given)]
        return found[0] if found else None
