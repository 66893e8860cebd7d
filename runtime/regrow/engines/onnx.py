"""Run a bundle on stock onnxruntime: no `onnx` package, no files beside the bundle.

The graphs come without weights. Frozen weights, rule tensors and masks are bound as external initializers, so
that onnxruntime folds and packs them; it copies them once while doing so (measured on 1.31: also where the
API speaks of user buffers). Memory is bounded by an arena cap where a budget is given, never exact.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import plan
from regrow.bundle import Bundle
from regrow.engines import Adapted
from regrow.engines.wire import external_names
from regrow.errors import BudgetError, BundleError, UnsupportedError
from regrow.plan import peak_bytes

Array = NDArray[Any]
Tensors = Mapping[str, Array]

# The arena of a session is the one registered last when the session is made.
_REGISTERING = threading.Lock()
# Samples, and bytes: where memory patterns are worth what they take.
_USUAL, _LITTLE = 25, 4 << 20
_GIVE_BACK = ("memory.enable_memory_arena_shrinkage", "cpu:0")


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises; its own exceptions share no base class below Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = (t for t in vars(native).values() if isinstance(t, type) and issubclass(t, Exception))
    return (RuntimeError, *own)


def load() -> None:
    """Load what running needs, so that a benchmark can tell it apart from the run."""
    import onnxruntime  # noqa: F401


class OnnxEngine:
    """The `onnx` engine. Graphs are loaded when first used; one thread unless told otherwise."""

    name = "onnx"
    exact_memory = False

    def __init__(
        self, bundle: Bundle, *, threads: int = 1, budget_bytes: int | None = None, plan: str = "auto"
    ) -> None:
        if plan not in ("auto", "fast"):
            raise UnsupportedError(
                f"{bundle.path}: engine onnx: plan is {plan!r}, expected 'auto' or 'fast', since onnxruntime "
                "plans its own memory; choose engine='native'"
            )
        self._bundle = bundle
        self._threads = threads
        self._budget = budget_bytes
        self._graphs: dict[str, _Graph] = {}
        self._programs = {name: bundle.program(name) for name in ("prefix", "step", "finish")}

    def planned_bytes(self, support: int) -> int:
        """What the programs keep alive; onnxruntime's allocator takes more."""
        return peak_bytes(self._programs, support)

    def adapt(
        self, x: Array, y: Array, active: Array | None, params: Tensors, state: Tensors, steps: int
    ) -> Adapted:
        """`steps` updates in one call of the adapt graph."""
        feeds = {"x": x, "y": y, "steps": np.asarray(steps, np.int64)}
        feeds |= {} if active is None else {"active": active}
        feeds |= _prefixed("param", params) | _prefixed("state", state)
        out = self._graph("adapt").run(feeds)
        return Adapted(
            params={name: out[f"new:{name}"] for name in params},
            state={name: out[f"newstate:{name}"] for name in state},
            statistics={s.name: out[f"stat:{s.name}"] for s in self._bundle.manifest.statistics},
            losses=out["loss"],
            final_loss=float(out["final_loss"]),
        )

    def predict(self, x: Array, params: Tensors, statistics: Tensors) -> Array:
        """One call of the predict graph."""
        feeds = {"x": x} | _prefixed("param", params) | _prefixed("stat", statistics)
        return self._graph("predict").run(feeds)["logits"]

    def _graph(self, name: str) -> _Graph:
        if name not in self._graphs:
            self._graphs[name] = _Graph(self._bundle, name, self._threads, self._budget)
        return self._graphs[name]


def _prefixed(prefix: str, tensors: Tensors) -> dict[str, Array]:
    return {f"{prefix}:{name}": array for name, array in tensors.items()}


class _Graph:
    """One loaded graph of a bundle whose inputs and outputs are those the manifest implies."""

    def __init__(self, bundle: Bundle, name: str, threads: int, budget: int | None) -> None:
        import onnxruntime as ort

        self.place = f"{bundle.path}: graph {name}"
        self.budget = budget
        graph = bundle.graph(name)
        bound = {n: _binding(bundle, n, self.place) for n in external_names(graph, self.place)}
        options = _options(threads, patterns=budget is None and name == "adapt" and _small(bundle))
        # The values must stay alive for as long as the session.
        self.values = [ort.OrtValue.ortvalue_from_numpy(array) for array in bound.values()]
        if bound:
            options.add_external_initializers(list(bound), self.values)
        # Weights share the arena but not the budget. A cap below their sum would switch the cap off:
        # onnxruntime computes what is left as an unsigned difference.
        weights = sum(array.nbytes for array in bound.values()) + len(graph)
        try:
            self.session = _create(graph, options, None if budget is None else budget + weights)
        except _failures() as error:
            raise self._failure("could not be loaded", error) from error
        self.inputs = {i.name for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        wanted, promised = _ports(bundle, name)
        self._require(self.inputs, wanted, "inputs", allow_fewer=True)
        self._require(set(self.outputs), promised, "outputs", allow_fewer=False)
        self.run_options = ort.RunOptions()
        if budget is not None:
            # Freed chunks of another batch size would otherwise count against the cap.
            self.run_options.add_run_config_entry(*_GIVE_BACK)

    def run(self, feeds: Tensors) -> dict[str, Array]:
        """All outputs by name; feeds that the graph does not read are left out."""
        used = {name: array for name, array in feeds.items() if name in self.inputs}
        try:
            made = self.session.run(self.outputs, used, self.run_options)
        except _failures() as error:
            raise self._failure("failed while running", error) from error
        return dict(zip(self.outputs, made, strict=True))

    def _failure(self, what: str, error: Exception) -> BundleError | BudgetError:
        text = " ".join(str(error).split())
        if self.budget is not None and "bfc_arena" in text:
            # "Available memory of 6912 is smaller than requested bytes of 368640"
            left, asked = (re.search(rf"{words} of (\d+)", text) for words in ("memory", "bytes"))
            detail = f" ({asked[1]} asked for with {left[1]} left)" if left and asked else ""
            return BudgetError(
                f"{self.place}: onnxruntime needs more than the {self.budget} bytes given{detail}; "
                "raise budget_bytes or give fewer samples"
            )
        return BundleError(
            f"{self.place}: {what} ({text[:300]}), expected a graph for stock onnxruntime; "
            "export the bundle again or upgrade onnxruntime"
        )

    def _require(self, found: set[str], wanted: set[str], what: str, *, allow_fewer: bool) -> None:
        wrong = found - wanted if allow_fewer else wanted - found
        if wrong:
            raise BundleError(
                f"{self.place}: {what} {sorted(found)[:8]}, expected {sorted(wanted)[:8]} "
                f"(differs in {sorted(wrong)[:3]}); export the bundle again"
            )


def _small(bundle: Bundle) -> bool:
    """Whether an adaptation to a usual number of samples takes little memory."""
    programs = {name: bundle.program(name) for name in ("prefix", "step", "finish")}
    return plan.peak_bytes(programs, _USUAL) <= _LITTLE


def _options(threads: int, *, patterns: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures arrive as exceptions; stderr belongs to the caller
    # A pattern per batch size costs a third more at the peak; many small ops run a fifth faster with one.
    options.enable_mem_pattern = patterns
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _create(graph: bytes, options: Any, cap: int | None) -> Any:
    import onnxruntime as ort

    providers = ["CPUExecutionProvider"]
    if cap is None:
        return ort.InferenceSession(graph, options, providers=providers)
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    options.add_session_config_entry("session.use_env_allocators", "1")
    with _REGISTERING:
        # 1: the arena grows by what is asked for, not by powers of two.
        ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(cap, 1, -1, -1))
        return ort.InferenceSession(graph, options, providers=providers)


def _binding(bundle: Bundle, external: str, place: str) -> Array:
    """The array behind "frozen:<name>", "meta:<name>" or "mask:<name>" (positions that may move)."""
    kind, _, name = external.partition(":")
    masked = {p.name: p for p in bundle.manifest.parameters if p.adaptable not in ("none", "all")}
    if kind == "frozen" and name in bundle.params:
        array: Array = bundle.params[name]
    elif kind == "meta" and name in bundle.meta:
        array = bundle.meta[name]
    elif kind == "mask" and name in masked:
        array = bundle.mask(masked[name])
    else:
        raise BundleError(
            f"{place}: initializer {external!r} names nothing in the bundle, expected frozen:, meta: or "
            "mask: and a stored name; export the bundle again"
        )
    # onnxruntime takes only what is contiguous; 0-d arrays must stay 0-d.
    return np.require(array, requirements="C")


def _ports(bundle: Bundle, name: str) -> tuple[set[str], set[str]]:
    """The inputs a graph may read and the outputs it must have."""
    made = bundle.manifest
    params = [p.name for p in made.parameters if p.adaptable != "none"]
    statistics = {f"stat:{s.name}" for s in made.statistics}
    inputs = {"x", *_names("param", params)}
    if name == "predict":
        return inputs | statistics, {"logits"}
    state = [s.name for s in made.state]
    outputs = {"loss", "final_loss", *_names("new", params), *_names("newstate", state)} | statistics
    return inputs | {"y", "steps", "active", *_names("state", state)}, outputs


def _names(prefix: str, names: Collection[str]) -> list[str]:
    return [f"{prefix}:{name}" for name in names]
