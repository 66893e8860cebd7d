"""What an engine is, which ones there are, and how one is chosen. Runs nothing; imports one when picked.

An engine is pure: arrays in, arrays out, nothing remembered between calls. It trusts what it is handed;
`regrow.bundle` and `regrow.samples` have judged it before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, util
from typing import TYPE_CHECKING, Any, Protocol, cast

from regrow.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from regrow.bundle import Bundle

    Array = NDArray[Any]
    Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Adapted:
    """What K steps made of the adaptable parameters; `losses[i]` is the loss before step i."""

    params: dict[str, Array]
    state: dict[str, Array]
    statistics: dict[str, Array]
    losses: Array
    final_loss: float


class Engine(Protocol):
    """Runs the programs of one bundle."""

    name: str
    exact_memory: bool

    def planned_bytes(self, support: int) -> int:
        """What adapting to `support` samples keeps alive at once: to the byte, or as the programs plan it."""
        ...

    def adapt(
        self, x: Array, y: Array, active: Array | None, params: Tensors, state: Tensors, steps: int
    ) -> Adapted:
        """`steps` updates on a support set; `active` are the outputs in use (None for regression)."""
        ...

    def predict(self, x: Array, params: Tensors, statistics: Tensors) -> Array:
        """The outputs for a batch of queries, all heads included."""
        ...


class EngineType(Protocol):
    """How an engine is made."""

    def __call__(
        self, bundle: Bundle, *, threads: int, budget_bytes: int | None, plan: str = "auto"
    ) -> Engine: ...


@dataclass(frozen=True)
class Row:
    """Where an engine lives and what must be importable for it to run."""

    path: str
    needs: str
    remedy: str


# In the order `auto` tries them.
ENGINES: dict[str, Row] = {
    "native": Row(
        "regrow.engines.native:NativeEngine",
        "regrow._core",
        "install regrow where a C compiler is, or run `python runtime/native/build.py` in a checkout",
    ),
    "onnx": Row("regrow.engines.onnx:OnnxEngine", "onnxruntime", "pip install 'regrow[onnx]'"),
}


def available() -> tuple[str, ...]:
    """The engines that can run here, best first."""
    return tuple(name for name, row in ENGINES.items() if _present(row.needs))


def _present(module: str) -> bool:
    return util.find_spec(module) is not None


def start(
    name: str, bundle: Bundle, *, threads: int, budget_bytes: int | None, plan: str = "auto"
) -> tuple[Engine, str]:
    """The engine called `name` on a bundle; for "auto" the first that can run it, and why none before did."""
    if name != "auto":
        return pick(name)[1](bundle, threads=threads, budget_bytes=budget_bytes, plan=plan), ""
    refusals: list[str] = []
    for candidate in _present_engines():
        try:
            engine = pick(candidate)[1](bundle, threads=threads, budget_bytes=budget_bytes, plan=plan)
        except UnsupportedError as error:
            refusals.append(str(error))
            continue
        return engine, "; ".join(refusals)
    raise UnsupportedError("; ".join(refusals))


def _present_engines() -> tuple[str, ...]:
    present = available()
    if not present:
        remedies = " or ".join(dict.fromkeys(row.remedy for row in ENGINES.values()))
        raise UnsupportedError(f"engine auto: found none, expected one of {', '.join(ENGINES)}; {remedies}")
    return present


def pick(name: str = "auto") -> tuple[str, EngineType]:
    """The engine called `name`, or for "auto" the first one present."""
    if name == "auto":
        name = _present_engines()[0]
    if name not in ENGINES:
        raise UnsupportedError(
            f"engine {name!r}: no such engine, expected auto or one of {', '.join(ENGINES)}"
        )
    row = ENGINES[name]
    if not _present(row.needs):
        raise UnsupportedError(f"engine {name}: {row.needs} is not installed; {row.remedy}")
    module, _, attribute = row.path.partition(":")
    return name, cast(EngineType, getattr(import_module(module), attribute))
