"""What a bundle says about itself: the model, what may change in it, the rule, the policy, the self-test.

`parse` turns JSON into these dataclasses or raises a BundleError that names the key; `Manifest.to_json` is
its inverse. Only the manifest itself is judged here; `regrow.bundle` checks the tensors it names.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from regrow.encoding import KINDS, Kind
from regrow.fields import Fields, Words, fail
from regrow.moves import Adaptable, parse_adaptable
from regrow.values import VALUES, Values

FORMAT_VERSION = 2  # it added int8 values, zlib streams that share a dictionary, and the kind of a rule

Task = Literal["classification", "regression"]
BatchNorm = Literal["none", "support", "running", "transductive"]
RuleKind = Literal["gradient", "metric"]
TASKS: dict[Task, str] = {"classification": "logits", "regression": "values"}
BATCH_NORMS: tuple[BatchNorm, ...] = ("none", "support", "running", "transductive")
TENSOR_DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True)
class InputSpec:
    """One input sample. Model input = (v - mean) / std; image bytes are / 255, then 1 - v if `invert`."""

    name: str = "x"
    shape: tuple[int, ...] = (1, 28, 28)
    dtype: Literal["float32"] = "float32"
    kind: Literal["image", "vector"] = "image"
    mean: float = 0.0
    std: float = 1.0
    invert: bool = False


@dataclass(frozen=True)
class OutputSpec:
    """One output: its shape per sample, what the numbers are, and class names if it has its own."""

    shape: tuple[int, ...]
    kind: Literal["logits", "values"] = "logits"
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Parameter:
    """One weight tensor: which of its positions may move, and how it is stored (`bytes` over all parts)."""

    name: str
    shape: tuple[int, ...]
    adaptable: Adaptable
    encoding: Kind
    values: Values
    kept: int
    bytes: int

    @property
    def size(self) -> int:
        """Positions, pruned ones included."""
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """The pruned share of the positions."""
        return 1.0 - self.kept / self.size if self.size else 0.0


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of a tensor stored beside the parameters."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class RuleSpec:
    """The update rule: where it was defined, its arguments and steps, the tensors it was trained with, and
    whether it steps along a gradient or fits a metric head in its only step."""

    name: str
    path: str
    args: dict[str, Any]
    steps: int
    meta: tuple[TensorSpec, ...] = ()
    kind: RuleKind = "gradient"


@dataclass(frozen=True)
class Policy:
    """Few-shot policy; `adapt` rolls back where the loss rises by more than `max_loss_rise`."""

    batch_norm: BatchNorm
    min_ways: int
    max_ways: int
    max_loss_rise: float


@dataclass(frozen=True)
class SelfTest:
    """An episode from the documented generator and what the reference computed on it."""

    seed: int
    support: int
    ways: int
    losses: tuple[float, ...]
    logits: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle except its tensors. `verification` and `provenance` are free JSON."""

    name: str
    task: Task
    input: InputSpec
    output: OutputSpec
    parameters: tuple[Parameter, ...]
    statistics: tuple[TensorSpec, ...]
    state: tuple[TensorSpec, ...]
    rule: RuleSpec
    policy: Policy
    programs: dict[str, str]
    graphs: dict[str, str]
    peak_bytes: dict[str, int]
    selftest: SelfTest
    verification: dict[str, Any]
    provenance: dict[str, Any]
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain data (dicts, lists, numbers, strings); `parse` is its inverse."""
        return cast(dict[str, Any], plain(self))


def plain(value: Any) -> Any:
    """Dataclasses and tuples as the dicts and lists that JSON reads back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def parse(data: object, place: str) -> Manifest:
    """A manifest from JSON data; `place` (the file) opens every error."""
    top = Fields(data, place)
    version = check_version(top, FORMAT_VERSION)
    made = Manifest(
        name=top.text("name"),
        task=cast(Task, top.choice("task", tuple(TASKS))),
        input=parse_input(top.object("input")),
        output=_output(top.object("output")),
        parameters=_parameters(top, version),
        statistics=parse_tensors(top, "statistics"),
        state=parse_tensors(top, "state"),
        rule=_rule(top.object("rule"), version),
        policy=_policy(top.object("policy")),
        programs=top.text_map("programs"),
        graphs=top.text_map("graphs"),
        peak_bytes=_peak_bytes(top),
        selftest=_selftest(top.object("selftest")),
        verification=top.free("verification"),
        provenance=top.free("provenance"),
        format_version=version,
    )
    _check_task(made, top)
    return made


def check_version(top: Fields, newest: int) -> int:
    """The version of a file; one of a newer regrow is refused before anything else in it is judged."""
    version = top.integer("format_version", 1)
    if version > newest:
        remedy = "a newer regrow wrote this file: upgrade with `pip install -U regrow`"
        raise fail(top.at("format_version"), version, f"at most {newest}", remedy)
    return version


def _check_task(made: Manifest, top: Fields) -> None:
    output = top.object("output")
    if made.output.kind != TASKS[made.task]:
        raise fail(output.at("kind"), made.output.kind, f"{TASKS[made.task]} for {made.task}")
    width = math.prod(made.output.shape)
    if made.output.labels is not None and len(made.output.labels) > width:
        raise fail(output.at("labels"), Words(f"{len(made.output.labels)} labels"), f"at most {width}")
    if made.task == "classification" and made.policy.max_ways > width:
        raise fail(top.object("policy").at("max_ways"), made.policy.max_ways, f"at most {width}, the outputs")


def parse_input(fields: Fields) -> InputSpec:
    """An input spec; checkpoints hold one too."""
    std = fields.number("std")
    if std <= 0:
        raise fail(fields.at("std"), std, "a number > 0")
    return InputSpec(
        name=fields.text("name"),
        shape=fields.shape("shape", 1),
        dtype=cast(Literal["float32"], fields.choice("dtype", ("float32",))),
        kind=cast(Literal["image", "vector"], fields.choice("kind", ("image", "vector"))),
        mean=fields.number("mean"),
        std=std,
        invert=fields.flag("invert"),
    )


def _output(fields: Fields) -> OutputSpec:
    labels = None if fields.get("labels") is None else fields.texts("labels")
    check_unique(labels or (), fields.at("labels"))
    kind = cast(Literal["logits", "values"], fields.choice("kind", tuple(TASKS.values())))
    return OutputSpec(fields.shape("shape", 1), kind, labels)


def _parameters(top: Fields, version: int) -> tuple[Parameter, ...]:
    made = tuple(_parameter(fields, version) for fields in top.objects("parameters"))
    check_unique([p.name for p in made], top.at("parameters"))
    return made


def _parameter(fields: Fields, version: int) -> Parameter:
    shape = fields.shape("shape")
    encoding = cast(Kind, fields.choice("encoding", KINDS))
    size = math.prod(shape)
    # Version 1 has no int8, and a scalar no first dimension to scale along.
    known = tuple(v for v in VALUES if v != "int8" or (version > 1 and shape))
    return Parameter(
        name=fields.text("name"),
        shape=shape,
        adaptable=parse_adaptable(fields, shape, version),
        encoding=encoding,
        values=cast(Values, fields.choice("values", known)),
        kept=fields.integer("kept", size if encoding == "dense" else 0, size),
        bytes=fields.integer("bytes"),
    )


def parse_tensors(top: Fields, key: str) -> tuple[TensorSpec, ...]:
    """A list of tensor specs with unique names."""
    made = tuple(
        TensorSpec(fields.text("name"), fields.shape("shape"), fields.choice("dtype", TENSOR_DTYPES))
        for fields in top.objects(key)
    )
    check_unique([spec.name for spec in made], top.at(key))
    return made


def _rule(fields: Fields, version: int) -> RuleSpec:
    return RuleSpec(
        name=fields.text("name"),
        path=fields.text("path"),
        args=fields.free("args"),
        steps=fields.integer("steps", 1),
        meta=parse_tensors(fields, "meta"),
        kind="gradient" if version == 1 else cast(RuleKind, fields.choice("kind", get_args(RuleKind))),
    )


def _policy(fields: Fields) -> Policy:
    max_ways = fields.integer("max_ways")
    rise = fields.number("max_loss_rise")
    if rise < 0:
        raise fail(fields.at("max_loss_rise"), rise, "a number >= 0")
    return Policy(
        batch_norm=cast(BatchNorm, fields.choice("batch_norm", BATCH_NORMS)),
        min_ways=fields.integer("min_ways", 0, max_ways),
        max_ways=max_ways,
        max_loss_rise=rise,
    )


def _peak_bytes(top: Fields) -> dict[str, int]:
    made = top.count_map("peak_bytes")
    for key in made:
        if not (key.isascii() and key.isdigit()):
            raise fail(top.at("peak_bytes"), key, "support sizes as keys")
    return made


def _selftest(fields: Fields) -> SelfTest:
    return SelfTest(
        seed=fields.integer("seed"),
        support=fields.integer("support", 1),
        ways=fields.integer("ways"),
        losses=fields.numbers("losses"),
        logits=fields.numbers("logits"),
        tolerance=fields.number("tolerance"),
    )


def check_unique(names: Iterable[str], place: str) -> None:
    """Names that index something must not repeat."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise fail(place, name, "each name once")
        seen.add(name)
