"""Turn verified programs and tensors into a bundle's manifest and tensors, each in its smallest encoding."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

import regrow
from regrow import bundle, reference
from regrow.manifest import (
    BatchNorm,
    InputSpec,
    Manifest,
    OutputSpec,
    Parameter,
    Policy,
    RuleSpec,
    SelfTest,
    TensorSpec,
)
from regrow.moves import Adaptable
from regrow.plan import peak_bytes
from regrow.program import Program
from regrow.values import Values
from regrow_exporter.capture import labelled
from regrow_exporter.graph import numbered
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.programs import Learner, Programs

Arrays = Mapping[str, NDArray[Any]]

PLANNED_PER_CLASS = (1, 5, 10)
# What a draft has in its place.
NO_TEST = SelfTest(0, 1, 1, (), (), 0.0)


@dataclass(frozen=True)
class Description:
    """What the user says about the export that the network itself does not."""

    name: str
    input: InputSpec
    labels: tuple[str, ...] | None
    rule_name: str
    rule_path: str
    rule_args: dict[str, Any]
    steps: int
    batch_norm: BatchNorm
    max_loss_rise: float
    values: Mapping[str, Values]
    provenance: dict[str, Any]


def pack(
    learner: Learner,
    programs: Programs,
    env: Arrays,
    masks: Arrays,
    kinds: Mapping[str, Adaptable],
    calibration: NDArray[np.float32],
    about: Description,
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """The manifest and every tensor in file order. It is a draft until it holds a self-test and its proof."""
    entries, tensors = _parameters(programs, env, masks, kinds, about.values)
    named = {
        "meta.": {n: env[f"meta:{n}"] for n in learner.meta},
        "state.": {n.removeprefix("state:"): env[n] for n in _roles(programs, "state")},
        "stat.": _statistics(programs, env, calibration),
    }
    specs = {
        prefix: tuple(TensorSpec(n, t.shape, t.dtype.name) for n, t in group.items())
        for prefix, group in named.items()
    }
    for prefix, group in named.items():
        tensors |= {prefix + n: t for n, t in group.items()}
    tensors = _in_file_order(tensors) | _blobs(programs)
    ways = programs.outputs
    regression = not labelled(learner.loss)
    manifest = Manifest(
        name=about.name,
        task="regression" if regression else "classification",
        input=about.input,
        output=OutputSpec((ways,), "values" if regression else "logits", about.labels),
        parameters=entries,
        statistics=specs["stat."],
        state=specs["state."],
        rule=RuleSpec(
            about.rule_name,
            about.rule_path,
            about.rule_args,
            about.steps,
            specs["meta."],
            "metric" if learner.head else "gradient",
        ),
        # A single class is enough to be near to, but not to be told apart by a gradient.
        policy=Policy(about.batch_norm, min(1 if learner.head else 2, ways), ways, about.max_loss_rise),
        programs={name: f"program.{name}" for name in programs.deployed},
        graphs={"predict": "onnx.predict", "adapt": "onnx.adapt"},
        peak_bytes={str(ways * k): peak_bytes(programs.deployed, ways * k) for k in PLANNED_PER_CLASS},
        selftest=NO_TEST,
        verification={},
        provenance=about.provenance,
    )
    return manifest, tensors


def significant(value: Any, digits: int) -> Any:
    """Plain data with its floats cut to what someone can read; seventeen digits are bytes for nobody."""
    if isinstance(value, dict):
        return {key: significant(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [significant(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _roles(programs: Programs, role: str) -> list[str]:
    """Program inputs of a role, over all deployed programs, each once."""
    return list(
        dict.fromkeys(
            name
            for program in programs.deployed.values()
            for name in program.inputs
            if program.values[name].role == role
        )
    )


def _parameters(
    programs: Programs,
    env: Arrays,
    masks: Arrays,
    kinds: Mapping[str, Adaptable],
    values: Mapping[str, Values],
) -> tuple[tuple[Parameter, ...], dict[str, NDArray[Any]]]:
    stored = _roles(programs, "adaptable")
    stored += [n for n in _roles(programs, "frozen") if not n.startswith(("meta:", "mask:"))]
    entries: list[Parameter] = []
    tensors: dict[str, NDArray[Any]] = {}
    for name in stored:
        entry, parts = bundle.pack_parameter(
            name, env[name], kinds.get(name, "none"), masks.get(name), values.get(name, "fp32")
        )
        entries.append(entry)
        tensors |= parts
    return tuple(entries), tensors


def _statistics(
    programs: Programs, env: Arrays, calibration: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Statistics of the calibration samples under the base weights: what a fresh session predicts with."""
    if not programs.statistics:
        return {}
    rows = len(calibration)
    y = np.arange(rows) % programs.outputs if "active" in env else np.zeros((rows, programs.outputs))
    known = {**env, "x": calibration, "y": y}
    known |= reference.run(programs.deployed["prefix"], known)
    out = reference.run(programs.deployed["finish"], known)
    return {name.removeprefix("stat:"): out[name].astype(np.float32) for name in programs.statistics}


def _in_file_order(tensors: Arrays) -> dict[str, NDArray[Any]]:
    """fp32, fp16, int8, streams: widest first keeps every tensor aligned."""
    keys = {name: (-a.dtype.itemsize, a.dtype == np.uint8, name) for name, a in tensors.items()}
    return {name: tensors[name] for name in sorted(tensors, key=keys.__getitem__)}


def _blobs(programs: Programs) -> dict[str, NDArray[Any]]:
    deployed = programs.deployed
    graphs = {
        "predict": write_single(deployed["predict"], None, "predict"),
        "adapt": write_adapt(deployed, None),
    }
    protos = {name: graph.SerializeToString(deterministic=True) for name, graph in graphs.items()}
    packed = {f"onnx.{name}": blob for name, blob in bundle.pack_blobs("graphs", protos).items()}
    return program_blobs(deployed) | packed


def program_blobs(programs: Mapping[str, Program]) -> dict[str, NDArray[np.uint8]]:
    """Programs as the tensors that store them."""
    texts = {name: _text(program) for name, program in numbered(programs).items()}
    return {f"program.{name}": blob for name, blob in bundle.pack_blobs("programs", texts).items()}


def _text(program: Program) -> bytes:
    return json.dumps(program.to_json(), separators=(",", ":")).encode()


def versions() -> dict[str, str]:
    """Of everything that had a hand in a bundle."""
    return {
        "regrow": regrow.__version__,
        "torch": torch.__version__.partition("+")[0],
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }
