"""Run the cases of a pack on a subject and say how far each result is from what it should be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from regrow.conformance.judge import Finding, judge, outputs
from regrow.conformance.pack import EXPECTED, Case
from regrow.conformance.subjects import REFERENCE, Subject
from regrow.errors import RegrowError
from regrow.fields import Words, fail

# In fp64 nothing is lost but the order of sums.
EXACT = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What a subject made of a case: a finding per output, or why there is none."""

    case: str
    subject: str
    findings: tuple[Finding, ...]
    refused: str = ""

    @property
    def passed(self) -> bool:
        return not self.refused and all(finding.passed for finding in self.findings)

    @property
    def worst(self) -> Finding | None:
        """The output that uses up most of what is allowed, or goes beyond it furthest."""
        return max(self.findings, key=_used, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data; an error that is no number is null."""
        failures = [
            {"output": f.output, "error": _number(f.error), "tolerance": f.tolerance, "problem": f.problem}
            for f in self.findings
            if not f.passed
        ]
        made: dict[str, Any] = {"case": self.case, "engine": self.subject, "passed": self.passed}
        if self.worst is not None:
            worst = self.worst
            made |= {"worst": worst.output, "error": _number(worst.error), "tolerance": worst.tolerance}
        return made | {"failures": failures, "refused": self.refused}


def verdicts(cases: Iterable[Case], subjects: dict[str, Subject]) -> Iterator[Verdict]:
    """Every case on every subject, as they are done."""
    for case in cases:
        expected = case.arrays(EXPECTED)
        tolerances = case.facts.tolerances
        if set(outputs(expected)) != set(tolerances):
            odd = sorted(set(outputs(expected)) ^ set(tolerances))[:3]
            raise fail(str(case.path(EXPECTED)), Words(f"{odd} on one side only"), "a tolerance per output")
        for name, subject in subjects.items():
            limits = dict.fromkeys(tolerances, EXACT) if name == REFERENCE else tolerances
            try:
                found = subject(case)
            except RegrowError as error:
                yield Verdict(case.name, name, (), str(error))
                continue
            yield Verdict(case.name, name, judge(expected, found, limits))


def _used(finding: Finding) -> float:
    return finding.error / finding.tolerance if math.isfinite(finding.error) else math.inf


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
