"""The page's plots: each once, as SVG that takes its colours from the page, and as PNG beside it.

Needs matplotlib (the `bench` extra); uses no display and changes no global setting.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from regrow.demo.pictures import grey
from regrow.demo.results import Estimate, Peer, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of the PNG files. In the SVG each becomes the page's variable of that name, so that both themes fit.
COLOURS = {"ink": "#1d2125", "muted": "#6a7178", "line": "#dfe2e6", "dense": "#8591a3", "pruned": "#0b7a70"}
WIDTH = 7.2


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Every plot of the page by name, as SVG text; writes `<name>.png` into the folder."""
    charts: dict[str, Callable[[Results], Figure]] = {
        "accuracy": accuracy,
        "learning": learning,
        "size": size,
        "latency": latency,
        "memory": memory,
    }
    _save(episode(results), "episode", folder)
    return {name: render(chart(results), name, folder) for name, chart in charts.items()}


def accuracy(results: Results) -> Figure:
    """Before and after adaptation, a group of bars per number of shots, models side by side."""
    figure, axes = _figure(2.8)
    rows = results["accuracy"]
    shots = sorted({r["shots"] for r in rows})
    below = axes.get_xaxis_transform()
    for row in rows:
        left = shots.index(row["shots"]) * 5 + (2.1 if row["model"] == "pruned" else 0)
        _bar(axes, left, row["before"], COLOURS[row["model"]], 0.35)
        _bar(axes, left + 0.94, row["after"], COLOURS[row["model"]], 1.0)
        axes.text(
            left + 0.47,
            -0.04,
            row["model"],
            ha="center",
            va="top",
            color=COLOURS["ink"],
            transform=below,
            fontsize=8.5,
        )
    chance = 100 / results["n_way"]
    axes.axhline(chance, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(4.05, chance + 1.5, "chance", color=COLOURS["muted"], fontsize=8, ha="center", va="bottom")
    axes.set_xticks([5 * i + 1.52 for i in range(len(shots))], [_shots(s) for s in shots])
    axes.tick_params(axis="x", pad=20)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("accuracy, %")
    return figure


def _bar(axes: Axes, left: float, estimate: Estimate, colour: str, alpha: float) -> None:
    mean, half = 100 * estimate["mean"], 100 * estimate["half_width"]
    axes.bar(left, mean, width=0.88, color=colour, alpha=alpha, linewidth=0)
    axes.errorbar(left, mean, yerr=half, color=COLOURS["ink"], linewidth=1, capsize=2)
    axes.text(left, mean + half + 1.5, f"{mean:.1f}", ha="center", color=COLOURS["ink"], fontsize=8.5)


def learning(results: Results) -> Figure:
    """Validation accuracy over meta-iterations."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(2.6)
    for curve in results["curves"]:
        x = [p["iteration"] for p in curve["points"]]
        y = [100 * p["accuracy"] for p in curve["points"]]
        axes.plot(
            x, y, color=COLOURS[curve["model"]], linewidth=1.8, marker="o", markersize=3, label=curve["model"]
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("meta-iterations")
    axes.set_ylabel("validation accuracy, %")
    axes.legend(frameon=False, loc="lower right", labelcolor=COLOURS["ink"])
    return figure


def size(results: Results) -> Figure:
    """Bytes of the dense model as ONNX, dense as a bundle, pruned as a bundle."""
    sizes = results["sizes"]
    rows = [
        ("dense, ONNX fp32", sizes["onnx_dense"] / 1e3, COLOURS["dense"]),
        ("dense bundle", sizes["bundle_dense"] / 1e3, COLOURS["dense"]),
        ("pruned bundle", sizes["bundle_pruned"] / 1e3, COLOURS["pruned"]),
    ]
    return _bars(rows, "kB on disk", "{:.0f} kB")


def latency(results: Results) -> Figure:
    """Milliseconds of one adaptation, per engine."""
    return _peers(results, lambda p: p["adapt_ms"]["median"], "ms per adaptation", "{:.1f} ms")


def memory(results: Results) -> Figure:
    """Peak memory of a fresh process that adapts once, per engine."""
    return _peers(
        results, lambda p: p["peak_bytes"]["median"] / 1e6, "MB, peak of a fresh process", "{:.0f} MB"
    )


def episode(results: Results) -> Figure:
    """What the model was shown and what it predicted; the page has its own grid, this one is for slides."""
    from matplotlib.figure import Figure

    shown, asked = results["episode"]["support"], results["episode"]["queries"]
    across = max(len(shown), 5)
    down = -(-len(shown) // across) + -(-len(asked) // across)
    figure = Figure(figsize=(across * 0.9, down * 1.05), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture in zip(grid.flat, [*shown, *asked], strict=False):
        axes.imshow(grey(picture), cmap="gray_r", vmin=0, vmax=255)
        told = picture["predicted"]
        colour = (
            COLOURS["muted"] if told is None else COLOURS["pruned"] if told == picture["label"] else "#b4451f"
        )
        axes.set_title(picture["label"] if told is None else told, fontsize=8, color=colour)
    return figure


def _peers(results: Results, value: Callable[[Peer], float], unit: str, text: str) -> Figure:
    rows = [
        (p["name"], value(p), COLOURS["dense" if "torch" in p["name"] else "pruned"])
        for p in results["peers"]
    ]
    return _bars(rows, unit, text)


def _bars(rows: list[tuple[str, float, str]], unit: str, text: str) -> Figure:
    figure, axes = _figure(0.5 + 0.34 * len(rows))
    most = max((value for _, value, _ in rows), default=1.0)
    for i, (_, value, colour) in enumerate(rows):
        axes.barh(i, value, height=0.66, color=colour, linewidth=0)
        axes.text(
            value + most * 0.012, i, text.format(value), va="center", color=COLOURS["ink"], fontsize=8.5
        )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_xlim(0, most * 1.14)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel(unit)
    axes.set_xticks([])
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=COLOURS["muted"], labelsize=8.5, length=0)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=COLOURS["muted"], fontsize=8.5)
    axes.yaxis.label.set(color=COLOURS["muted"], fontsize=8.5)
    return figure, axes


def _save(figure: Figure, name: str, folder: Path) -> None:
    figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white", transparent=False)


def render(figure: Figure, name: str, folder: Path) -> str:
    """A figure as SVG without colours of its own; writes the PNG file beside the page."""
    from matplotlib import rc_context

    _save(figure, name, folder)
    text = io.StringIO()
    # The salt keeps the ids of two drawings on one page apart, and the page the same from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # The page scales the drawing; fixed points would not.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{name}"', svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _shots(count: int) -> str:
    return f"{count} example per class" if count == 1 else f"{count} examples per class"
