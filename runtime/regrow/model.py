"""An open bundle with the engine that runs it. Immutable; sessions hold whatever is learned."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from regrow import bundle as bundles
from regrow import delta as deltas
from regrow import engines
from regrow.bundle import Bundle
from regrow.engines import Engine
from regrow.errors import BudgetError, BundleError, UnsupportedError
from regrow.files import StrPath
from regrow.manifest import InputSpec, Manifest, OutputSpec, Parameter, Policy, RuleSpec
from regrow.session import Session

_STAGES = ("predict", "prefix", "step", "finish")


class Model:
    """What `regrow.open` returns."""

    def __init__(
        self, bundle: Bundle, engine: Engine, budget_bytes: int | None, engine_note: str = ""
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.budget_bytes = budget_bytes
        # Why an engine that "auto" would rather have taken does not run this bundle; else empty.
        self.engine_note = engine_note
        self._peaks: dict[int, int] = {}

    def __repr__(self) -> str:
        note = f" ({self.engine_note})" if self.engine_note else ""
        return f"<regrow.Model {self.name!r} {self.digest[:12]} on {self.engine.name}{note}>"

    @property
    def manifest(self) -> Manifest:
        """Everything the bundle says about itself."""
        return self.bundle.manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def digest(self) -> str:
        """The bundle's SHA-256, its identity."""
        return self.bundle.digest

    @property
    def input(self) -> InputSpec:
        return self.manifest.input

    @property
    def output(self) -> OutputSpec:
        return self.manifest.output

    @property
    def rule(self) -> RuleSpec:
        return self.manifest.rule

    @property
    def policy(self) -> Policy:
        return self.manifest.policy

    @property
    def adaptable(self) -> tuple[Parameter, ...]:
        """The parameters a session may change."""
        return tuple(p for p in self.manifest.parameters if p.adaptable != "none")

    @cached_property
    def stepwise(self) -> bool:
        """Whether K single steps are one adaptation of K: not where the rule looks at which step it is."""
        return "step" not in self.bundle.program("step").inputs

    def session(self, delta: StrPath | bytes | None = None) -> Session:
        """A new instance: fresh, or as a delta (a path, or the bytes of `Session.dump`) left it."""
        if delta is None:
            return Session(self)
        read = deltas.parse if isinstance(delta, bytes) else deltas.read
        return Session(self, read(delta, self.bundle))  # type: ignore[arg-type]

    def peak_bytes(self, support: int) -> int:
        """What adapting to `support` samples keeps alive at once, as the engine plans it."""
        if support not in self._peaks:
            self._peaks[support] = self.engine.planned_bytes(support)
        return self._peaks[support]

    def check_budget(self, support: int) -> None:
        """Refuse a support set whose plan does not fit, before anything is allocated."""
        if self.budget_bytes is None or (needed := self.peak_bytes(support)) <= self.budget_bytes:
            return
        fits = self._largest(support)
        remedy = (
            f"a support set of {fits} samples would fit the plan"
            if fits
            else "not even one sample fits the plan: raise it"
        )
        raise BudgetError(
            f"{self.bundle.path}: adapting to {support} samples needs {needed} bytes, budget_bytes is "
            f"{self.budget_bytes}; {remedy}"
        )

    def _largest(self, too_many: int) -> int:
        """The largest support size below `too_many` that fits; 0 where none does."""
        low, high = 0, too_many
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if self.peak_bytes(middle) <= (self.budget_bytes or 0) else (low, middle)
            )
        return low


_PLANS = ("auto", "fast", "small")


def open(
    path: StrPath,
    *,
    engine: str = "auto",
    budget_bytes: int | None = None,
    threads: int = 1,
    plan: str = "auto",
) -> Model:
    """Map a bundle, verify it and choose an engine.

    `threads=1` because adaptation steps are small: more threads wait for each other more than they compute.
    `plan` is the native engine's: "fast", "small" (about half of the memory in one and a half to two times
    the time), or "auto", which is small where only that fits `budget_bytes`.
    """
    if plan not in _PLANS:
        raise UnsupportedError(f"regrow.open: plan is {plan!r}, expected one of {', '.join(_PLANS)}")
    if not _positive(threads):
        raise UnsupportedError(
            f"regrow.open: threads is {threads!r}, expected 1 or more; leave it out for one"
        )
    if budget_bytes is not None and not _positive(budget_bytes):
        raise BudgetError(
            f"regrow.open: budget_bytes is {budget_bytes!r}, expected a number of bytes; None sets no limit"
        )
    engines.pick(engine)
    bundle = bundles.read(path)
    _check(bundle)
    made, note = engines.start(engine, bundle, threads=threads, budget_bytes=budget_bytes, plan=plan)
    return Model(bundle, made, budget_bytes, note)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check(bundle: Bundle) -> None:
    for missing in _missing(bundle.manifest):
        raise BundleError(f"{bundle.path}: found no {missing}, expected one; export the bundle again")


def _missing(made: Manifest) -> Iterator[str]:
    yield from (f"program {name!r}" for name in _STAGES if name not in made.programs)
    yield from (f"graph {name!r}" for name in ("adapt", "predict") if name not in made.graphs)
    if made.task == "classification" and len(made.output.shape) != 1:
        yield f"output of one dimension (its shape is {list(made.output.shape)})"
