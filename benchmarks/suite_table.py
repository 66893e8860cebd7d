"""The rows of a suite's result, for pages and Markdown alike: words and numbers, no layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import NOISY, clock, wide
from benchmarks.peers import PEERS
from benchmarks.workloads import QUERIES, Work, least

NATIVE = "regrow native"
DASH = "-"
_STATUS = {
    "not installed": "not installed",
    "refused": "refused",
    "differs": "other result",
    "slow": "too slow",
}


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
    "again at once, ms",
    "one step, ms",
    "1 query, ms",
    "75 queries, ms",
    "start to answer, ms",
    "import, ms",
    "memory above start, MB",
    "allocated, MB",
    "planned, MB",
    "artifact, kB",
    "installed, MB",
    "instructions, millions",
    "energy, J",
    "of roofline",
    "error",
)


def title(case: dict[str, Any]) -> str:
    """A case in words."""
    return f"{case['title']}, {case['pruning']}, adapting {case['adaptable']}"


def noisy(case: dict[str, Any]) -> str:
    """What a reader has to know of a case that was measured on a busy machine; empty where it was quiet."""
    if case["noise"] <= NOISY:
        return ""
    return (
        f"Too noisy for three digits: the 95th percentile lies {case['noise']:.0%} above the median. "
        "Run it again on a machine that does nothing else."
    )


def rows(case: dict[str, Any], made: dict[str, Any]) -> Iterator[Row]:
    """Every peer, in the order of the registry."""
    notes = {entry.name: entry.note for entry in PEERS}
    for name, fact in case["peers"].items():
        note = notes.get(name, "")
        if fact["status"] != "measured":
            yield Row(name, (), f"{_STATUS[fact['status']]}: {fact['reason']}", None, note)
            continue
        adapted = "error" in fact  # one that only predicts has nothing to be wrong about
        if fact.get("dense"):
            note = f"runs the dense network, since it cannot keep weights at zero; {note}"
        middle = fact[f"adapt_ms{clock(made['threads'])}"]["median"]
        yield Row(name, tuple(_figures(case, name, made)), "", middle if adapted else None, note)


def _figures(case: dict[str, Any], name: str, made: dict[str, Any]) -> Iterator[str]:
    fact, kind = case["peers"][name], clock(made["threads"])
    adapted, bad = "error" in fact, case["noise"] > NOISY

    def time(key: str, part: str = "median") -> str:
        figure = fact.get(f"{key}{kind}")
        return DASH if figure is None else short(figure[part], bad or wide(figure))

    adapting = [time("adapt_ms"), time("adapt_ms", "p95"), time("adapt_ms", "p99")]
    adapting += [_ratio(case, name, f"adapt_ms{kind}", bad), time("again_ms"), time("step_ms")]
    yield from adapting if adapted else [DASH] * len(adapting)
    yield time("predict_1_ms")
    yield time(f"predict_{QUERIES}_ms")
    yield _median(fact, "cold_ms", 1.0, bad)
    yield _median(fact, "import_cpu_ms", 1.0, bad)
    yield _median(fact, "above_floor_bytes", 1e-6, bad)
    for key, scale in (("allocated", 1e6), ("planned", 1e6), ("artifact", 1e3), ("installed", 1e6)):
        yield short(fact[f"{key}_bytes"] / scale) if f"{key}_bytes" in fact else DASH
    yield _median(fact, "adapt_instructions", 1e-6, bad) if adapted else DASH
    yield short(fact["joules"], bad) if adapted and "joules" in fact else DASH
    yield _share(case, fact, made)
    yield f"{fact['error']:.0e}" if adapted else DASH


def _median(fact: dict[str, Any], key: str, scale: float, bad: bool) -> str:
    return short(fact[key]["median"] * scale, bad) if key in fact else DASH


def _ratio(case: dict[str, Any], name: str, key: str, bad: bool) -> str:
    if name == NATIVE:
        return "1"
    found = case["ratios"].get(f"{name} / {NATIVE}", {}).get(key)
    if not found:
        return DASH
    low, high = (short(found[part], bad) for part in ("low", "high"))
    return f"{short(found['median'], bad)} [{low}, {high}]" if found["count"] > 1 else short(found["median"])


def _share(case: dict[str, Any], fact: dict[str, Any], made: dict[str, Any]) -> str:
    """The time that the machine could not do it under, as a share of the time it took."""
    top, kind = made["ceilings"], clock(made["threads"])
    if not top["fma_gflops"]:
        return DASH
    work = Work(case["workload"], case["pruning"], case["adaptable"])
    if "error" in fact:
        # The dense network's arithmetic is not its fault, but it is what it was asked to do.
        operations, moved = least(work.twin if fact.get("dense") else work)
        took = fact[f"adapt_ms{kind}"]["median"]
    else:
        operations, moved = float(QUERIES * case["forward_flops"]), 4.0 * case["parameters"]
        took = fact[f"predict_{QUERIES}_ms{kind}"]["median"]
    bound = max(operations / top["fma_gflops"], moved / top["read_gbs"]) / 1e6
    return f"{short(100 * bound / took, noisy=True)}%"


def short(value: float, noisy: bool = False) -> str:
    """Three significant digits, two where the machine was noisy; never an exponent."""
    digits = 2 if noisy else 3
    if value >= 10 ** (digits - 1):
        return f"{round(value, digits - len(str(int(value)))):.0f}"
    return f"{value:.{digits}g}" if value >= 1e-3 else f"{value:.1e}"


def summary(made: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One line per case, one column per peer: times as long as the native engine."""
    names = [entry.name for entry in PEERS if not entry.forward_only]
    lines = [
        [
            f"{case['title']}, {case['pruning']}, {case['adaptable']}",
            *(_cell(case, name, clock(made["threads"])) for name in names),
        ]
        for case in made["cases"]
    ]
    return ["", *names], lines


def _cell(case: dict[str, Any], name: str, kind: str) -> str:
    fact = case["peers"].get(name)
    if fact is None:
        return "not run"
    if fact["status"] != "measured":
        return _STATUS[fact["status"]]
    bad = case["noise"] > NOISY
    if name == NATIVE:
        figure = fact[f"adapt_ms{kind}"]
        return f"{short(figure['median'], bad or wide(figure))} ms"
    found = case["ratios"].get(f"{name} / {NATIVE}")
    return f"{short(found[f'adapt_ms{kind}']['median'], bad)}x" if found else DASH
