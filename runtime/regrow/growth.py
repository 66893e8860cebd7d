"""Teach a session one more class, and say what that costs the others. Works on metric heads only.

A fit of one class changes nothing but that class; the others can only lose queries to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regrow import samples
from regrow.classes import Classes, as_labels
from regrow.errors import SampleError, UnsupportedError

if TYPE_CHECKING:
    from regrow.session import AdaptReport, Session

PLACE = "add_class"


@dataclass(frozen=True, eq=False)
class ClassReport:
    """What adding a class did: the share of the held-back samples answered right `before` and `after` it.

    Both are None where no sample was held back.
    """

    fit: AdaptReport
    held_back: int
    before: float | None
    after: float | None

    @property
    def lost(self) -> float | None:
        """The accuracy that the known classes lost."""
        return None if self.before is None or self.after is None else self.before - self.after


def add_class(session: Session, name: str | int, x: ArrayLike, y: ArrayLike | None) -> ClassReport:
    """Fit one new class; samples that `y` gives another label are held back and answered before and after."""
    known = _growing(session)
    label = _label(name, known)
    raw, count = np.asarray(x), len(samples.as_input(x, session.model.input, PLACE))
    labels = np.array([label] * count) if y is None else _labels(y, count, known)
    new = labels == label
    _check_held_back(labels[~new], known)
    if not new.any():
        raise SampleError(f"{PLACE}: no sample is labelled {label!r}, expected one or more; check y")
    before = _accuracy(session, raw[~new], labels[~new])
    fit = session.adapt(raw[new], labels[new])
    after = _accuracy(session, raw[~new], labels[~new])
    return ClassReport(fit, int((~new).sum()), before, after)


def _growing(session: Session) -> Classes:
    """The classes of a session that can be given another one."""
    rule, known = session.model.rule, session.classes
    if rule.kind != "metric" or known is None:
        raise UnsupportedError(
            f"{PLACE}: this bundle learns by the rule {rule.name!r}, step by step over all classes, expected "
            "a metric head; adapt() to samples of all classes together, or export with --rule prototype"
        )
    if known.seen >= known.max_ways:
        raise SampleError(
            f"{PLACE}: all {known.max_ways} outputs have a class, expected a free one; export with a wider "
            "head (--ways)"
        )
    return known


def _label(name: str | int, known: Classes) -> str | int:
    """The new class as its samples will be labelled."""
    if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
        raise SampleError(f"{PLACE}: the name is {name!r}, expected text or a number; name the class")
    label: str | int = _labels([name], 1, known)[0].item()
    if held := known.count(label):
        raise SampleError(
            f"{PLACE}: class {label!r} has {held} samples already, expected a new one; adapt() adds to it"
        )
    return label


def _labels(y: ArrayLike, count: int, known: Classes) -> NDArray[Any]:
    """Labels as the session's predictions spell them; a bundle with names of its own takes numbers, too."""
    labels = as_labels(y, count)
    if known.fixed and labels.dtype.kind != "U":
        names = np.array(known.names)
        if ((labels < 0) | (labels >= len(names))).any():
            raise SampleError(f"{PLACE}: a label outside 0 to {len(names) - 1}; use the bundle's own names")
        return np.asarray(names[labels])
    return labels


def _check_held_back(labels: NDArray[Any], known: Classes) -> None:
    strange = [label for label in np.unique(labels).tolist() if not known.count(label)]
    if strange:
        raise SampleError(
            f"{PLACE}: samples of {strange[0]!r}, which is neither the new class nor a known one; add one "
            "class at a time"
        )


def _accuracy(session: Session, x: NDArray[Any], labels: NDArray[Any]) -> float | None:
    return float(np.mean(session.predict(x).labels == labels)) if len(labels) else None
