"""What was measured, for people: accuracies, and the tables that a choice was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regrow.cli.command import human_bytes, table

Row = Mapping[str, Any]


def figures(row: Row) -> str:
    """What adapting one set costs."""
    return (
        f"{human_bytes(row['peak_bytes'])} peak memory, {human_bytes(row['delta_bytes'])} delta, "
        f"{row['ms']['median']:.3g} ms"
    )


def score(made: Row, metric: str) -> str:
    """`91.2 % ± 0.8`, or a squared error with its interval."""
    half = made["half_width"]
    if metric == "accuracy":
        # Adding zero turns -0.0, what rounding leaves of a tiny loss, into 0.0.
        return f"{round(100 * made['mean'], 1) + 0.0:.1f} %" + (
            "" if half is None else f" ± {100 * half:.1f}"
        )
    return f"{made['mean']:.4g}" + ("" if half is None else f" ± {half:.2g}")


def accuracy(made: Mapping[str, Any] | str) -> str:
    """The accuracy a manifest states, with the episodes it was measured on."""
    if isinstance(made, str):
        return made
    metric, drawn = made["after"]["metric"], made["episodes"]
    return (
        f"{score(made['before'], metric)} before, {score(made['after'], metric)} after adapting "
        f"({metric}; {drawn['episodes']} {drawn['n_way']}-way {drawn['k_shot']}-shot episodes of "
        f"{drawn['source']})"
    )


def cost_rows(costs: Mapping[str, Mapping[str, int]], provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a step costs beside the gradient, with the bundle's rates and with the LSTM they come from."""
    rows = [("rule, per step", _cost(costs["step"]))] if "step" in costs else []
    if "frozen" in provenance:
        frozen = provenance["frozen"]
        told = f"{100 * frozen['still']:.1f} % of the rates are zero, {100 * frozen['removed']:.1f} % removed"
        rows.append(("frozen rates", f"{told}; median of {frozen['support_sets']} support sets"))
        rows.append(("with --dynamic, per step", _cost(frozen["dynamic"])))
    if "regrown" in costs:
        grown = costs["regrown"]
        stored, dense, peak, delta = (
            human_bytes(grown[f"{part}_bytes"]) for part in ("stored", "dense", "peak", "delta")
        )
        text = f"{stored} stored become {dense} dense; {peak} peak for {grown['support']} samples"
        text += f", a delta of up to {delta}"
        rows.append(("regrown weights", text))
    return rows


def _cost(made: Mapping[str, int]) -> str:
    state, rates = human_bytes(made["state_bytes"]), human_bytes(made["rate_bytes"])
    work = f"{made['multiply_adds']:,} multiply-adds, {made['functions']:,} functions"
    return f"{work}, {state} state, {rates} rates"


def choice_tables(choice: Mapping[str, Any]) -> list[str]:
    """A table per choice that was made."""
    made = {"adaptable": set_table, "precision": precision_table}
    return [made[what](record) for what, record in choice.items()]


def precision_table(record: Mapping[str, Any]) -> str:
    """The precisions that were compared; the chosen one is marked."""
    rows = [("", "precision", "weights", "before", "after", "drop")]
    for row in record["rows"]:
        metric = row["after"]["metric"]
        rows.append(
            (
                _mark(row),
                row["precision"],
                human_bytes(row["weight_bytes"]),
                score(row["before"], metric),
                score(row["after"], metric),
                score(row["drop"], metric),
            )
        )
    head = f"precision: the smallest whose drop is at most {100 * record['max_drop']:g} points"
    return f"{head} ({record['judged_by']})\n{table(rows, right=(2, 3, 4, 5))}"


def set_table(record: Mapping[str, Any]) -> str:
    """The adaptable sets that were compared, best first; the chosen one is marked."""
    unit = "delta" if record["per"] == "delta_bytes" else "peak"
    rows = [("", "adaptable", "peak", "delta", "ms", "before", "after", f"gain per kB of {unit}", "over")]
    for row in record["rows"]:
        metric = row["after"]["metric"]
        gain = 100 * row["per_kilobyte"] if metric == "accuracy" else row["per_kilobyte"]
        rows.append(
            (
                _mark(row),
                row["adaptable"],
                human_bytes(row["peak_bytes"]),
                human_bytes(row["delta_bytes"]),
                f"{row['ms']['median']:.3g} (to {row['ms']['high']:.3g})",
                score(row["before"], metric),
                score(row["after"], metric),
                f"{gain:.3g}",
                ", ".join(row["over"]),
            )
        )
    lines = [f"adaptable sets at {record['support']} support samples", table(rows, right=range(2, 8))]
    lines += [f"left out {name}: {reason}" for name, reason in record["left_out"].items()]
    return "\n".join(lines)


def _mark(row: Row) -> str:
    return "*" if row["chosen"] else ""
