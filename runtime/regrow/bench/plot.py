"""Draw a benchmark's figures as bars with their intervals. Needs matplotlib (the `bench` extra)."""

from __future__ import annotations

import io
from typing import Any

PANELS = (
    ("adapt_ms", "adaptation, ms", 1.0),
    ("predict_1_ms", "one query, ms", 1.0),
    ("cold_ms", "cold start, ms", 1.0),
    ("above_import_bytes", "memory above import, MB", 1e-6),
)


def draw(facts: dict[str, Any], form: str = "png") -> bytes:
    """One panel per figure, one bar per subject, as the bytes of an image file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    subjects = facts["subjects"]
    figure = Figure(figsize=(2.6 * len(PANELS), 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (key, title, scale) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for i, (name, record) in enumerate(subjects.items()):
            if key not in record:
                continue
            middle, low, high = (record[key][part] * scale for part in ("median", "low", "high"))
            axis.bar(i, middle, yerr=[[middle - low], [high - middle]], capsize=3, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(subjects)), list(subjects), fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.set_ylim(bottom=0)
    cpu, support = facts["machine"]["cpu"], facts["support"]
    figure.suptitle(
        f"{facts['bundle']['name']}, {support} samples, {facts['steps']} steps; {cpu}", fontsize=8
    )
    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=150)
    return stream.getvalue()
