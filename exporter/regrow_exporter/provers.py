"""The fp32 engines that an export is proven on, each behind the same two questions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regrow.bundle import Bundle
from regrow.engines import Engine, available, pick
from regrow.errors import UnsupportedError
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.pack import program_blobs
from regrow_exporter.programs import Programs

Arrays = Mapping[str, NDArray[Any]]


class Prover(Protocol):
    """What an engine is asked for; `env` holds every value that the programs read, by program name."""

    def gradient(self, env: Arrays) -> dict[str, NDArray[Any]]:
        """The gradient of every adaptable parameter."""
        ...

    def adapt(self, env: Arrays, steps: int) -> dict[str, NDArray[Any]]:
        """What `steps` steps make of every adaptable parameter, and of state as `state:<name>`."""
        ...


def engines(shipped: Bundle) -> dict[str, Engine | str]:
    """Every engine present, started on a bundle; its own words where it refuses to run it."""
    made: dict[str, Engine | str] = {}
    for name in available():
        try:
            made[name] = pick(name)[1](shipped, threads=1, budget_bytes=None)
        except UnsupportedError as error:
            made[name] = str(error)
    return made


def provers(programs: Programs, env: Arrays, shipped: Bundle | None) -> dict[str, Prover | str]:
    """Stock onnxruntime on graphs of its own, and the other engines present on what is shipped."""
    made: dict[str, Prover | str] = {"onnx": OnnxProver(programs, env)}
    if shipped is not None:
        for name, engine in engines(shipped).items():
            if name not in made:
                made[name] = engine if isinstance(engine, str) else EngineProver(engine, shipped, programs)
    return made


class OnnxProver:
    """Standalone graphs, which hold their weights, on onnxruntime without the runtime around it."""

    def __init__(self, programs: Programs, env: Arrays) -> None:
        self._adapt = OnnxGraph(write_adapt(programs.deployed, env))
        self._gradient = None
        if programs.gradient is not None:
            self._gradient = OnnxGraph(write_single(programs.gradient, env, "gradient"))

    def gradient(self, env: Arrays) -> dict[str, NDArray[Any]]:
        """All gradients in one pass."""
        assert self._gradient is not None
        out = self._gradient.run(env)
        return {name.removeprefix("grad:"): g for name, g in out.items() if name.startswith("grad:")}

    def adapt(self, env: Arrays, steps: int) -> dict[str, NDArray[Any]]:
        """The K-step graph."""
        given = {f"param:{name}": value for name, value in env.items()}
        out = self._adapt.run({**env, **given}, steps=steps)
        kinds = {"new": "", "newstate": "state:"}
        parts = {name: name.partition(":") for name in out}
        return {kinds[kind] + rest: out[name] for name, (kind, _, rest) in parts.items() if kind in kinds}


class EngineProver:
    """An engine of the runtime on the bundle that is shipped, and on one whose step yields gradients."""

    def __init__(self, engine: Engine, shipped: Bundle, programs: Programs) -> None:
        self._engine, self._shipped = engine, shipped
        self._names = [p.name for p in shipped.manifest.parameters if p.adaptable != "none"]
        self._slope = None
        if programs.slope:
            manifest = replace(shipped.manifest, state=())
            stages = {**programs.slope, "predict": programs.deployed["predict"]}
            tensors = {**shipped.tensors, **program_blobs(stages)}
            slope = replace(shipped, manifest=manifest, tensors=tensors, state={})
            self._slope = pick(engine.name)[1](slope, threads=1, budget_bytes=None)

    def gradient(self, env: Arrays) -> dict[str, NDArray[Any]]:
        """One step that replaces every parameter by its gradient."""
        assert self._slope is not None
        return self._adapted(self._slope, env, {}, 1)

    def adapt(self, env: Arrays, steps: int) -> dict[str, NDArray[Any]]:
        """As a session does it."""
        state = {name: env[f"state:{name}"] for name in self._shipped.state}
        return self._adapted(self._engine, env, state, steps)

    def _adapted(self, engine: Engine, env: Arrays, state: Arrays, steps: int) -> dict[str, NDArray[Any]]:
        params = {name: np.asarray(env[name], np.float32) for name in self._names}
        made = engine.adapt(env["x"], env["y"], env.get("active"), params, state, steps)
        return {**made.params, **{f"state:{name}": value for name, value in made.state.items()}}
