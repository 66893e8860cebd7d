"""Turn verified programs and tensors into a bundle's manifest and tensors, each in its smallest encoding."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import bundle, reference, selftest
from regrow.manifest import (
    Adaptable,
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
from regrow.plan import peak_bytes
from regrow_exporter.capture import labelled
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.programs import Learner, Programs

Arrays = Mapping[str, NDArray[Any]]

SELF_TEST_SEED = 7
# The self-test runs on every engine and CPU: it must catch damage, not the last bits of fp32.
SELF_TEST_TOLERANCE = 1e-2
PLANNED_PER_CLASS = (1, 5, 10)


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
    precision: str
    provenance: dict[str, Any]


def pack(
    learner: Learner,
    programs: Programs,
    env: Arrays,
    masks: Arrays,
    kinds: Mapping[str, Adaptable],
    calibration: NDArray[np.float32],
    verification: dict[str, Any],
    about: Description,
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """The manifest and every tensor in file order."""
    entries, tensors = _parameters(learner, programs, env, masks, kinds, about.precision)
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
        selftest=_self_test(learner, programs, env, about.steps),
        verification=verification,
        provenance=about.provenance,
    )
    return manifest, tensors


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
    learner: Learner,
    programs: Programs,
    env: Arrays,
    masks: Arrays,
    kinds: Mapping[str, Adaptable],
    precision: str,
) -> tuple[tuple[Parameter, ...], dict[str, NDArray[Any]]]:
    stored = _roles(programs, "adaptable")
    stored += [n for n in _roles(programs, "frozen") if not n.startswith(("meta:", "mask:"))]
    entries: list[Parameter] = []
    tensors: dict[str, NDArray[Any]] = {}
    for name in stored:
        # What a metric head starts from was not rounded when it was proven.
        half = precision == "fp16" and env[name].ndim > 1 and not (learner.head and name in kinds)
        entry, parts = bundle.pack_parameter(
            name, env[name], kinds.get(name, "none"), masks.get(name), "fp16" if half else "fp32"
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
    return dict(sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))


def _blobs(programs: Programs) -> dict[str, NDArray[Any]]:
    deployed = programs.deployed
    made = {
        f"program.{name}": json.dumps(program.to_json(), separators=(",", ":")).encode()
        for name, program in deployed.items()
    }
    made["onnx.predict"] = write_single(deployed["predict"], None, "predict").SerializeToString(
        deterministic=True
    )
    made["onnx.adapt"] = write_adapt(deployed, None).SerializeToString(deterministic=True)
    return {name: bundle.pack_blob(data) for name, data in made.items()}


def _self_test(learner: Learner, programs: Programs, env: Arrays, steps: int) -> SelfTest:
    ways = max(programs.outputs, 2)
    x, y = selftest.episode(SELF_TEST_SEED, ways, ways, learner.shape)
    target = y if labelled(learner.loss) else np.zeros((ways, programs.outputs), np.float32)
    known, losses = reference.adapt(programs.deployed, {**env, "x": x, "y": target}, steps)
    logits = reference.run(programs.deployed["predict"], known)["logits"][0]
    return SelfTest(
        SELF_TEST_SEED,
        ways,
        ways,
        tuple(float(np.float32(v)) for v in losses),
        tuple(float(np.float32(v)) for v in logits),
        SELF_TEST_TOLERANCE,
    )
