"""Write the figures of docs/native.md from the recorded run. None of them is typed by hand.

python -m benchmarks.native.report            # write
python -m benchmarks.native.report --check    # fail where the page differs from the record
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "native.md"
RECORD = ROOT / "benchmarks" / "results" / "native_speed.json"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Json = dict[str, Any]
_RULE = "|---|---|---|---|---|---|"


def interval(spread: Json, digits: int = 1) -> str:
    """A median and its 95 % interval."""
    return f"{spread['median']:.{digits}f} ({spread['low']:.{digits}f}-{spread['high']:.{digits}f})"


def speed(results: list[Json]) -> list[str]:
    """A line per target: how many times longer the other takes, and whether that reaches 0.8 of it."""
    lines = [
        "| workload | native, ms | beside | times as long | target | reached |",
        _RULE,
    ]
    for row in results:
        cpu = row["cpu_ms"]["native"]["median"]
        for judged in row["targets"]:
            ratio = interval(row["times_native"][judged["against"]])
            verdict = "yes" if judged["reached"] else "**no**"
            lines.append(
                f"| {row['row']} | {cpu:.2f} | {judged['against']} | {ratio} | {judged['target']} "
                f"| {verdict} |"
            )
    return lines


def memory(results: list[Json]) -> list[str]:
    """Arenas of the plans beside the least that could be kept; a record may be older than a plan."""
    lines = [
        "| workload | fast, KiB | small, KiB | small-fp16, KiB | least, KiB | small / least "
        "| time small / fast | small-fp16 / fast |",
        f"{_RULE}---|---|",
    ]
    for row in results:
        arena = row["arena_bytes"]
        fast, small, least = (arena[k] / 1024 for k in ("fast", "small", "lower_bound"))
        half = f"{arena['small-fp16'] / 1024:.0f}" if "small-fp16" in arena else ""
        plans = [row.get(k) for k in ("small_plan", "fp16_plan")]
        slower = [interval(plan["slower"], 2) if plan else "" for plan in plans]
        allowed = [f" (at most {plan['allowed_kib']:.0f})" if plan else "" for plan in plans]
        lines.append(
            f"| {row['row']} | {fast:.0f} | {small:.0f}{allowed[0]} | {half}{allowed[1]} | {least:.0f} "
            f"| {small / least:.2f} | {slower[0]} | {slower[1]} |"
        )
    return lines


def waiting(found: Json) -> list[str]:
    """What fp16 costs in accuracy."""
    if not found:
        return []
    sizes, adapted, off = found["sizes"], found["adapted"], found["difference"]
    kib = {plan: f"{size / 1024:.0f} KiB" for plan, size in found["arena_bytes"].items()}
    return [
        "Activations in fp16, Conv4-32 with 90 % of the weights pruned, "
        f"{sizes['episodes']} unseen episodes of glyphs, {sizes['n_way']}-way {sizes['k_shot']}-shot: "
        f"{adapted['small']:.2f} % in {kib['small']}, {adapted['small-fp16']:.2f} % in {kib['small-fp16']} "
        f"({found['unadapted']:.1f} % before adapting); paired difference {off['mean']:+.2f} points "
        f"(95 %: {off['low']:+.2f} to {off['high']:+.2f}), {found['episodes_that_differ']:.0%} of them "
        f"differ, none by more than {found['largest']:.1f} points."
    ]


def roofline(found: Json) -> list[str]:
    """Share of the multiply-adds (whole) or of the loads that cross lines (sparse) the machine can do."""
    fma, loads = (found["limits"].get(k) for k in ("fma", "loads"))
    if not fma or not loads:
        return []
    lines = [
        f"At most {fma:.0f} GFLOP/s of fused multiply-adds, {loads:.0f} of those that load a vector across "
        "cache lines. GFLOP/s of useful work (pads are none; what tiles save is counted: whole kernels "
        "may pass the limit), and share of that limit:",
        "",
        "| shape | forward | input gradient | weight gradient | sparse forward | sparse input gradient |",
        _RULE,
    ]
    for row in found["rows"]:
        whole = [f"{row[k]:.0f} ({row[k] / fma:.0%})" for k in ("conv2d", "conv2d_dx", "conv2d_dw")]
        sparse = [
            f"{row[f'{k} sparse']:.0f} ({row[f'{k} sparse'] / loads:.0%})" for k in ("conv2d", "conv2d_dx")
        ]
        lines.append(f"| {row['shape']} | {' | '.join((*whole, *sparse))} |")
    return lines


def whole(record: Json) -> list[str]:
    """One prediction, a cold start, resident memory."""
    lines = []
    if "predict" in record:
        row = record["predict"]
        ratio = interval(next(iter(row["times_native"].values())))
        lines.append(
            f"- {row['row']}: stock onnxruntime, norms folded, takes {ratio} times as long (target 2)."
        )
    if "process" in record:
        start, kib = record["process"]["cold_start"], record["process"]["resident_kib"]
        lines.append(
            f"- Process start to first adapted prediction: {interval(start['wall_s'], 2)} s of wall clock, "
            f"{interval(start['cpu_s'], 2)} s of processor (target {start['target_s']} s)."
        )
        figures = ", ".join(f"{k}: {v / 1024:.1f} MB" for k, v in kib.items() if k != "target")
        lines.append(
            f"- Peak resident memory above `import numpy`: {figures} (target {kib['target'] / 1024:.0f})."
        )
    return lines


def figures(record: Json) -> str:
    """The whole section."""
    made = record["machine"]
    head = (
        f"`python -m benchmarks.native_speed benchmarks/results/native_speed.json`, {made['date'][:10]}, "
        f"{made['cpu']}, load {made['load']} before and {made['load_after']} after, one thread, processor "
        "time, five steps, all weights adaptable unless said. Ratios are of interleaved pairs: median, 95 % "
        "interval; "
        "reached is 0.8 of the target on the lower end."
    )
    parts = [[head], speed(record["results"]), memory(record["results"]), waiting(record.get("fp16", {}))]
    parts += [part for part in (whole(record), roofline(record.get("roofline", {"limits": {}}))) if part]
    return "\n\n".join("\n".join(part) for part in parts if part)


def written(page: str, record: Json) -> str:
    """The page with the section replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures(record)}\n{END}{after}"


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page differs")
    page = PAGE.read_text(encoding="utf-8")
    made = written(page, json.loads(RECORD.read_text(encoding="utf-8")))
    if parser.parse_args().check:
        return int(page != made)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
