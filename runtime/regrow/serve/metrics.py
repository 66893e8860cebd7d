"""Counters and histograms in the text format that Prometheus reads. No labels come from request contents."""

from __future__ import annotations

import threading
from collections.abc import Mapping

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

HELP = {
    "regrow_requests_total": "Requests by method, route and status.",
    "regrow_request_seconds": "Time from the first byte read to the last byte sent, by route.",
    "regrow_adaptations_total": "Adaptations by outcome.",
    "regrow_adapt_seconds": "Time an adaptation took once it ran.",
    "regrow_wait_seconds": "Time an adaptation waited for its turn.",
    "regrow_predictions_total": "Samples predicted.",
    "regrow_queue": "Adaptations that wait or run.",
    "regrow_rows": "Rows stored, by table.",
    "regrow_store_bytes": "Bytes of the database and its log.",
    "regrow_up_seconds": "Time since the service started.",
}

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All figures of one service; may be used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, dict[Labels, list[float]]] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            values = self._counts.setdefault(name, {})
            values[key] = values.get(key, 0.0) + by

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add to a histogram: a count per bound, then all, then the sum."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            cells = self._times.setdefault(name, {}).setdefault(key, [0.0] * (len(SECONDS) + 2))
            for i, bound in enumerate(SECONDS):
                cells[i] += seconds <= bound
            cells[-2] += 1
            cells[-1] += seconds

    def render(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """The page; `gauges` are read when it is asked for."""
        with self._lock:
            lines: list[str] = []
            for name, values in sorted(self._counts.items()):
                lines += [*_head(name, "counter"), *(_line(name, k, v) for k, v in sorted(values.items()))]
            for name, times in sorted(self._times.items()):
                lines += _head(name, "histogram")
                for key, cells in sorted(times.items()):
                    lines += _histogram(name, key, cells)
        for name, found in sorted(gauges.items()):
            lines += [*_head(name, "gauge"), *(_line(name, k, v) for k, v in sorted(found.items()))]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]


def _histogram(name: str, key: Labels, cells: list[float]) -> list[str]:
    bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
    lines = [
        _line(f"{name}_bucket", (*key, ("le", bound)), n) for bound, n in zip(bounds, cells[:-1], strict=True)
    ]
    return [*lines, _line(f"{name}_sum", key, cells[-1]), _line(f"{name}_count", key, cells[-2])]


def _line(name: str, key: Labels, value: float) -> str:
    inside = ",".join(f'{k}="{_escape(v)}"' for k, v in key)
    # In full: rounded to six digits, a counter past a million would stand still between two looks.
    figure = str(int(value)) if float(value).is_integer() else repr(float(value))
    return f"{name}{{{inside}}} {figure}" if inside else f"{name} {figure}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
