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
    """Make a token worthless."""
    if not store.erase(lambda db: records.drop_token(db, name)):
        raise RegrowError(f"token {name!r}: not found, expected the name of a token; check the spelling")


def _hash(token: str) -> bytes:
    # The token is random and long, so one round without salt cannot be searched.
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """The hashes, read again every few seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
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
    def needed(self) -> bool:
        """Whether requests must bring one: as soon as there is one."""
        return bool(self._hashes)

    def owner(self, header: str | None) -> str | None:
        """Whose token an Authorization header carries; "" where none is needed, None where it is wrong."""
        hashes = self._hashes
        if not hashes:
            return ""
        kind, _, token = (header or "").partition(" ")
        given = _hash(token.strip()) if kind.lower() == "bearer" else b""
        # Every hash is compared, so the time says nothing about which was near.
        found = [name for name, hash in hashes if hmac.compare_digest(hash, given)]
        return found[0] if found else None
