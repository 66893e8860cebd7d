"""One adaptation from stored samples to a stored state, and what a person wants to know about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.model import Model
from regrow.serve import inputs
from regrow.serve.live import untaught
from regrow.serve.problems import ProblemError
from regrow.session import AdaptReport, Session

Array = NDArray[Any]
Contents = list[tuple[str, bool, bytes]]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What to learn from and what to check on; `y` is names, ints or targets as the session needs."""

    x: Array
    y: Any
    check_x: Array | None
    check_y: list[str]


def lesson(session: Session, contents: Contents) -> Lesson:
    """Sort stored samples into support and held-back ones; refuses what cannot be learned, in plain words."""
    support = [(label, inputs.unpack(x)) for label, held, x in contents if not held]
    held = [(label, inputs.unpack(x)) for label, is_held, x in contents if is_held]
    if not support:
        raise ProblemError(
            "one-class", "samples: none to learn from, expected some of every class; give samples first"
        )
    labels = [label for label, _ in support]
    regression = session.model.manifest.task == "regression"
    if not regression:
        _enough_classes(session, set(labels))
    return Lesson(
        _stack([x for _, x in support]),
        _targets(labels) if regression else _labels(session, labels),
        _stack([x for _, x in held]) if held else None,
        [label for label, _ in held],
    )


def _enough_classes(session: Session, given: set[str]) -> None:
    least = session.model.policy.min_ways
    known = given | set(session.counts)
    if len(known) < least:
        only = f" ({', '.join(sorted(known))})" if known else ""
        raise ProblemError(
            "one-class",
            f"samples: of {len(known)} class{only}, expected at least {least} classes; a difference is "
            "learned between classes: give samples of another one",
            found=len(known),
            limit=least,
        )


def _stack(samples: list[Array]) -> Array:
    """Bytes stay bytes only where all are: they are scaled by 255, other numbers are not."""
    if all(x.dtype == np.uint8 for x in samples):
        return np.stack(samples)
    return np.stack([x / np.float32(255) if x.dtype == np.uint8 else x for x in samples]).astype(np.float32)


def _labels(session: Session, labels: list[str]) -> list[str] | list[int]:
    """A delta from elsewhere may number its classes; then names of digits are those numbers."""
    numbered = bool(session.counts) and not session.named and all(label.isdigit() for label in labels)
    return [int(label) for label in labels] if numbered else labels


def target(label: str, size: int) -> list[float]:
    """The numbers a regression sample is labelled with."""
    try:
        values = [float(part) for part in label.split(",")]
    except ValueError:
        values = []
    if len(values) != size or not np.isfinite(values).all():
        raise ProblemError(
            "bad-sample", f"label: {label[:40]!r}, expected {size} numbers with commas between; repair it"
        )
    return values


def _targets(labels: list[str]) -> Array:
    return np.array([[float(part) for part in label.split(",")] for label in labels], np.float32)


def learn(
    session: Session, lesson: Lesson, steps: int | None, on_step: Callable[[int, float], None]
) -> dict[str, Any]:
    """Adapt `session` in place and say what happened."""
    report = session.adapt(lesson.x, lesson.y, steps=steps, on_step=on_step)
    return {
        **_figures(report),
        "stepwise": session.model.stepwise,
        "classes": session.counts,
        "check": _check(session, lesson),
        "layers": changes(session),
    }


def _figures(report: AdaptReport) -> dict[str, Any]:
    return {
        "losses": [float(loss) for loss in report.losses],
        "loss": report.loss,
        "steps": report.steps,
        "samples": report.samples,
        "elapsed_ms": report.elapsed_ms,
        "peak_bytes": report.peak_bytes,
        "memory": report.memory,
        "engine": report.engine,
    }


def _check(session: Session, lesson: Lesson) -> dict[str, Any] | None:
    """How many held-back samples are right now, and would be without having learned."""
    if lesson.check_x is None or session.model.manifest.task == "regression":
        return None
    return {
        "samples": len(lesson.check_y),
        "right": _right(session, lesson),
        "right_before": _right(untaught(session), lesson),
    }


def _right(session: Session, lesson: Lesson) -> int:
    labels = session.predict(lesson.check_x).labels  # type: ignore[arg-type]
    return sum(str(a) == b for a, b in zip(labels, lesson.check_y, strict=True))  # type: ignore[arg-type]


def changes(session: Session) -> list[dict[str, Any]]:
    """Per layer that may change: how many of its values moved away from the bundle's, and how far."""
    base, made = session.model.bundle.params, []
    for layer in dict.fromkeys(_layer(name) for name in session.parameters):
        own = {n: w for n, w in session.parameters.items() if _layer(n) == layer}
        moved = sum(int(np.count_nonzero(w != base[n])) for n, w in own.items())
        square = sum(float(((w.astype(np.float64) - base[n]) ** 2).sum()) for n, w in own.items())
        norm = sum(float((base[n].astype(np.float64) ** 2).sum()) for n in own)
        values = sum(w.size for w in own.values())
        relative = (square / norm) ** 0.5 if norm else (0.0 if not square else 1.0)
        made.append({"layer": layer, "values": values, "moved": moved, "change": relative})
    return made


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def predict(session: Session, x: Array) -> dict[str, Any]:
    """Answers for people and programs: a row per sample."""
    began = time.perf_counter()
    made = session.predict(x)
    facts: dict[str, Any] = {"elapsed_ms": (time.perf_counter() - began) * 1e3}
    if made.labels is None or made.probabilities is None:
        return {
            **facts,
            "classes": [],
            "predictions": [{"values": row.ravel().tolist()} for row in finite(made.logits)],
        }
    used = np.isfinite(made.logits[0])
    names = class_names(session, used)
    rows = finite(made.probabilities[:, used]).tolist()
    answers = [
        {"label": names[int(np.argmax(row))], "probability": max(row), "probabilities": row} for row in rows
    ]
    return {**facts, "classes": names, "predictions": answers}


def finite(values: Array) -> Array:
    """Weights that someone uploaded may answer with something that is no number."""
    if not np.isfinite(values).all():
        raise ProblemError("conflict", "predict: the answer is no number; undo, or load another calibration")
    return values


def class_names(session: Session, used: Array) -> list[str]:
    """What the outputs in use are called; before anything was learned most have no name."""
    if session.counts:
        return list(session.counts)
    own = session.model.output.labels or ()
    return [own[i] if i < len(own) else f"output {i}" for i in np.flatnonzero(used)]


def describe(model: Model) -> dict[str, Any]:
    """What a client must know of a model."""
    made = model.manifest
    return {
        "digest": model.digest,
        "name": model.name,
        "task": made.task,
        "shape": list(made.input.shape),
        "kind": made.input.kind,
        "labels": None if made.output.labels is None else list(made.output.labels),
        "min_ways": made.policy.min_ways,
        "max_ways": made.policy.max_ways,
        "outputs": int(np.prod(made.output.shape)),
        "rule": made.rule.name,
        "steps": made.rule.steps,
        "stepwise": model.stepwise,
        "engine": model.engine.name,
        "parameters": sum(p.kept for p in made.parameters),
        "adaptable": sum(model.bundle.movable(p) for p in model.adaptable),
        "peak_bytes": {str(n): model.peak_bytes(n) for n in (5, 25)},
        "budget_bytes": model.budget_bytes,
    }
