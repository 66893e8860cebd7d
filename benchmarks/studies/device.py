"""What a bundle costs on a device's engines: `regrow bench`, each figure from processes of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.studies.nets import command

ENGINES = ("native", "onnx")
_FIGURES = ("adapt_ms", "predict_1_ms", "cold_ms", "above_import_bytes", "peak_bytes")


def costs(bundle: Path, support: int, repeat: int, cold: int) -> dict[str, Any]:
    """Medians per engine for one support set; what an engine refused is said."""
    words = ["--support", str(support), "--repeat", str(repeat), "--cold", str(cold), "--only", *ENGINES]
    made: Mapping[str, Any] = json.loads(command(["bench", str(bundle), *words, "--json"]))
    engines = {
        name: {figure: subject[figure]["median"] for figure in _FIGURES if figure in subject}
        for name, subject in made["subjects"].items()
    }
    return {"support": support, "planned_bytes": made["planned_bytes"], "engines": engines,
            "refused": made["skipped"], "load": made["machine"]["load"]}  # fmt: skip
