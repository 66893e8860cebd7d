"""What answers look like, for the OpenAPI: one story, of a door that is open or closed."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict


def shown(**values: Any) -> ConfigDict:
    """The configuration of an answer with one example."""
    return ConfigDict(json_schema_extra={"examples": [values]})


SESSION = {
    "id": "Qm3v5Zt1x9b0hVYJd2c7wA",
    "model": "9f2c" * 16,
    "name": "kitchen door",
    "created": 1764000000.0,
    "touched": 1764000360.0,
}
SAMPLE = {"id": 7, "label": "open", "held_back": False, "created": 1764000120.0}
CHECK = {"samples": 4, "right": 4, "right_before": 1}
LAYER = {"layer": "conv1", "values": 576, "moved": 512, "change": 0.031}
REPORT = {
    "losses": [1.58, 0.71, 0.32],
    "loss": 0.19,
    "steps": 3,
    "samples": 10,
    "elapsed_ms": 21.4,
    "peak_bytes": 148728,
    "memory": "exact",
    "engine": "native",
    "stepwise": True,
    "classes": {"open": 5, "closed": 5},
    "check": CHECK,
    "layers": [LAYER],
}
ANSWER = {"label": "open", "probability": 0.93, "probabilities": [0.93, 0.07]}
