"""Write the C folder: the model, the core's sources, an example, targets."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from regrow import selftest
from regrow.bundle import Bundle, read
from regrow.engines import Adapted, start
from regrow.files import StrPath, atomic_write
from regrow_exporter.c_writer.bound import PLANS, Bound, bind
from regrow_exporter.c_writer.model import header, source
from regrow_exporter.c_writer.numbers import core_folder, switches
from regrow_exporter.c_writer.text import braces, define, items

FILES = Path(__file__).resolve().parent / "files"
CORE = ("*.h", "*.c", "ops/*.c")


def write_c(bundle: StrPath, folder: StrPath, samples: int | None = None, plan: str = PLANS[0]) -> Bound:
    """Turn a bundle into a folder of C that builds with `make`."""
    return write_folder(read(bundle), Path(folder), samples, plan)


def write_folder(bundle: Bundle, folder: Path, samples: int | None = None, plan: str = PLANS[0]) -> Bound:
    """The same for an open bundle."""
    made = bind(bundle, samples, plan)
    files = {
        "model.h": header(made),
        "model.c": source(made),
        "model_ops.h": switches([made.adapt, made.predict]),
        "selftest.h": expected(made),
    }
    contents = {folder / name: text.encode() for name, text in files.items()}
    core = core_folder()
    for pattern in CORE:
        contents |= {folder / "regrow" / p.relative_to(core): p.read_bytes() for p in core.glob(pattern)}
    for path in sorted(p for p in FILES.rglob("*") if p.is_file()):
        contents[folder / path.relative_to(FILES)] = path.read_bytes()
    for path, data in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
    return made


def episode(b: Bound) -> tuple[Any, Any, Any]:
    """The self-test's samples, targets and outputs in use, for as many samples as the C takes."""
    made = b.bundle.manifest
    test = made.selftest
    ways = max(1, min(test.ways, b.samples))
    x, y = selftest.episode(test.seed, b.samples, ways, made.input.shape)
    if b.labelled:
        return x, y, (np.arange(prod(made.output.shape)) < ways).reshape(made.output.shape)
    active = np.ones(made.output.shape, np.bool_) if made.task == "classification" else None
    return x, np.zeros((b.samples, *made.output.shape), np.float32), active


def reference(b: Bound, engine: str = "auto") -> tuple[Adapted, Any]:
    """What an engine makes of that episode: the adaptation and the logits of the first query."""
    made = b.bundle.manifest
    # The C's plan has its own order of sums, and may round what it keeps.
    plan = b.plan if engine == "native" else "auto"
    ran, _ = start(engine, b.bundle, threads=1, budget_bytes=None, plan=plan)
    params = {p.name: b.bundle.params[p.name] for p in made.parameters if p.adaptable != "none"}
    x, y, active = episode(b)
    adapted = ran.adapt(x, y, active, params, b.bundle.state, made.rule.steps)
    return adapted, ran.predict(x[: b.queries], adapted.params, adapted.statistics)


def expected(b: Bound) -> str:
    """selftest.h: how the episode is made, and what came out of it here."""
    test = b.bundle.manifest.selftest
    adapted, logits = reference(b)
    losses = np.append(adapted.losses, np.float32(adapted.final_loss)).astype(np.float32)
    macros: dict[str, str | int] = {
        "TEST_SEED": f"{test.seed}u",
        "TEST_WAYS": f"{max(1, min(test.ways, b.samples))}u",
        "TEST_LABELLED": int(b.labelled),
        "TEST_TOLERANCE": items(np.array([test.tolerance], np.float32))[0],
    }
    return (
        "/* selftest.h - an episode that every machine can make, and what an engine made of it. */\n"
        f"{define(macros)}\n\n"
        f"static const float TEST_LOSSES[] = {braces(losses)};\n"
        f"static const float TEST_LOGITS[] = {braces(np.asarray(logits, np.float32))};\n"
    )
