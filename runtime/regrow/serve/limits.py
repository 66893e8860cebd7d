"""How much one service takes on. Numbers only; what a refusal says stands where it happens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Every bound a request can run into; `regrow serve --help` names those that are options."""

    body_bytes: int = 8 * 2**20
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    pixels: int = 24_000_000
    sessions: int = 100
    samples: int = 500
    batch: int = 256
    deltas: int = 100
    delta_bytes: int = 64 * 2**20
    steps: int = 500
    queue: int = 8
    name: int = 80
    requests_per_second: float = 100.0
    burst: int = 300
    connections: int = 64
    undo: int = 16
    retain_days: float = 30.0
    grace_seconds: float = 10.0
