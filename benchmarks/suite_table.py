"""The rows of a suite's result, for pages and Markdown alike: words and numbers, no layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import NOISY
from benchmarks.peers import PEERS

NATIVE = "regrow native"
DASH = "-"


@dataclass(frozen=True)
class Row:
    """A peer in one case: its figures as text, or why it has none."""

    peer: str
    figures: tuple[str, ...]
    reason: str
    milliseconds: float | None  # of one adaptation, to draw
    note: str


COLUMNS = (
    "adaptation, ms",
    "p95",
    "p99",
    "times native",
    "one step",
    "1 query",
    "75 queries",
    "start to answer",
    "memory above start, MB",
    "artifact, kB",
    "installed, MB",
    "of peak",
    "error",
)


def rows(case: dict[str, Any], fma: float | None) -> Iterator[Row]:
    """Every peer, in the order of the registry."""
    notes = {entry.name: entry.note for entry in PEERS}
    for name, fact in case["peers"].items():
        if fact["status"] != "measured":
            yield Row(name, (), f"{fact['status']}: {fact['reason']}", None, notes.get(name, ""))
            continue
        adapted = "error" in fact  # one that only predicts has nothing to be wrong about
        note = notes.get(name, "")
        if fact.get("dense"):
            note = f"runs the dense network, since it cannot keep weights at zero; {note}"
        middle = fact["adapt_ms_cpu"]["median"]
        yield Row(name, tuple(_figures(case, name, fact, fma)), "", middle if adapted else None, note)


def _figures(case: dict[str, Any], name: str, fact: dict[str, Any], fma: float | None) -> Iterator[str]:
    adapted, noisy = "error" in fact, case["noise"] > NOISY
    times = fact["adapt_ms_cpu"]
    yield short(times["median"], noisy) if adapted else DASH
    yield short(times["p95"], noisy) if adapted else DASH
    yield short(times["p99"], noisy) if adapted else DASH
    yield _ratio(case, name, "adapt_ms_cpu", noisy) if adapted else DASH
    yield short(fact["step_ms_cpu"]["median"], noisy) if adapted else DASH
    yield short(fact["predict_1_ms_cpu"]["median"], noisy)
    yield short(fact["predict_75_ms_cpu"]["median"], noisy)
    yield _median(fact, "cold_ms", 1.0, noisy)
    yield _median(fact, "above_floor_bytes", 1e-6, noisy)
    yield short(fact["artifact_bytes"] / 1e3) if "artifact_bytes" in fact else DASH
    yield short(fact["installed_bytes"] / 1e6) if "installed_bytes" in fact else DASH
    yield _share(case, times["median"], fma) if adapted else DASH
    yield f"{fact['error']:.0e}" if adapted else DASH


def _median(fact: dict[str, Any], key: str, scale: float, noisy: bool) -> str:
    return short(fact[key]["median"] * scale, noisy) if key in fact else DASH


def _ratio(case: dict[str, Any], name: str, key: str, noisy: bool) -> str:
    if name == NATIVE:
        return "1"
    found = case["ratios"].get(f"{name} / {NATIVE}")
    if not found:
        return DASH
    low, high = (short(found[key][part], noisy) for part in ("low", "high"))
    return f"{short(found[key]['median'], noisy)} [{low}, {high}]"


def _share(case: dict[str, Any], milliseconds: float, fma: float | None) -> str:
    """Dense arithmetic of backpropagation per second, as a share of the processor's multiply-add peak."""
    if not fma or case["adaptable"] not in ("all", "kept", "complement"):
        return DASH
    # Forward, gradients of the weights and of the inputs: three times the forward pass, less the first
    # layer's.
    work = 3 * case["forward_flops"] * case["support"] * case["steps"]
    return f"{work / (milliseconds * 1e6) / fma:.0%}"


def short(value: float, noisy: bool = False) -> str:
    """Three significant digits, two where the machine was noisy; never an exponent."""
    digits = 2 if noisy else 3
    if value >= 10 ** (digits - 1):
        return f"{round(value, digits - len(str(int(value)))):.0f}"
    return f"{value:.{digits}g}" if value >= 1e-3 else f"{value:.1e}"


def summary(made: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One line per case, one column per peer: times as long as the native engine."""
    names = [entry.name for entry in PEERS if not entry.forward_only]
    lines = []
    for case in made["cases"]:
        cells = [_cell(case, name) for name in names]
        lines.append([f"{case['title']}, {case['pruning']}, {case['adaptable']}", *cells])
    return ["", *names], lines


def _cell(case: dict[str, Any], name: str) -> str:
    fact = case["peers"].get(name)
    if fact is None:
        return "not run"
    if fact["status"] != "measured":
        return {"not installed": "not installed", "refused": "refused", "differs": "other result"}[
            fact["status"]
        ]
    noisy = case["noise"] > NOISY
    if name == NATIVE:
        return f"{short(fact['adapt_ms_cpu']['median'], noisy)} ms"
    found = case["ratios"].get(f"{name} / {NATIVE}")
    return f"{short(found['adapt_ms_cpu']['median'], noisy)}x" if found else DASH
