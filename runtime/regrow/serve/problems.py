"""Every refusal as an RFC 9457 problem: a stable `type`, words for people, figures for programs.

The message of an error may name files of this machine; what leaves says "the model" instead.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from regrow.errors import AdaptError, BudgetError, BundleError, RegrowError, SampleError

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:regrow:problem:"

# kind -> (status, title); the kind is the last part of the problem's `type`.
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be read"),
    "no-token": (401, "A token is needed"),
    "foreign-origin": (403, "The request comes from another site"),
    "not-found": (404, "There is no such thing here"),
    "method-not-allowed": (405, "The address does not take this method"),
    "not-acceptable": (406, "None of the accepted types can be made"),
    "slow-request": (408, "The request took too long to arrive"),
    "busy": (409, "The session is learning"),
    "conflict": (409, "The state of the session does not allow it"),
    "contradiction": (409, "The same sample has two labels"),
    "rolled-back": (409, "Learning went wrong and was rolled back"),
    "budget": (413, "It does not fit the memory allowed"),
    "too-large": (413, "The body is too large"),
    "too-many": (409, "A limit is reached"),
    "media-type": (415, "The content type is not taken here"),
    "bad-delta": (422, "The delta cannot be used"),
    "bad-sample": (422, "The sample cannot be used"),
    "blank-sample": (422, "The sample is blank"),
    "one-class": (422, "There are too few classes"),
    "invalid": (422, "A field of the request is wrong"),
    "queue-full": (429, "Too many adaptations wait"),
    "rate": (429, "Too many requests"),
    "wrong-host": (421, "The address of this service is another one"),
    "bug": (500, "Something went wrong inside"),
    "overloaded": (503, "Too many requests at once"),
    "stopping": (503, "The service is stopping"),
    "not-ready": (503, "The service is not ready"),
    "disk": (507, "Nothing can be stored"),
}


class ProblemError(Exception):
    """A refusal on its way out. `figures` become members of the body, `headers` of the response."""

    def __init__(self, kind: str, detail: str, headers: dict[str, str] | None = None, **figures: Any) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.figures = kind, detail, figures
        self.status, self.title = KINDS[kind]
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The members of the problem document."""
        fixed = {"type": TYPE + self.kind, "title": self.title, "status": self.status, "detail": self.detail}
        return {**self.figures, **fixed}

    def encode(self) -> bytes:
        """The document as it is sent."""
        return json.dumps(self.body()).encode()


def limit(what: str, found: float, most: float, remedy: str) -> ProblemError:
    """A count that has reached its bound."""
    return ProblemError(
        "too-many", f"{what}: {found}, expected at most {most}; {remedy}", found=found, limit=most
    )


def from_error(error: RegrowError, secret: str = "") -> ProblemError:
    """The problem an error of regrow is; `secret` is the path of the bundle, which is nobody's business."""
    text = str(error).replace(secret, "the model") if secret else str(error)
    kinds: list[tuple[type[RegrowError], str]] = [
        (SampleError, "bad-sample"),
        (BudgetError, "budget"),
        (BundleError, "bad-delta"),
        (AdaptError, "rolled-back"),
    ]
    return ProblemError(next((kind for kin, kind in kinds if isinstance(error, kin)), "invalid"), text)


def from_disk(error: sqlite3.Error) -> ProblemError:
    """The problem a failed write is. What was stored before is intact: the transaction was rolled back."""
    return ProblemError(
        "disk",
        f"storage: {_reason(error)}, expected a writable disk with free space; nothing was changed, free "
        "some space and try again",
    )


def _reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    known = {"SQLITE_FULL": "the disk is full", "SQLITE_READONLY": "the disk is read-only"}
    return next((text for code, text in known.items() if name.startswith(code)), "it cannot be written")
