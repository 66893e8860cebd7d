"""Bodies of requests and answers as the OpenAPI shows them, each with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=80,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
    ),
]
Id = Annotated[str, StringConstraints(min_length=1, max_length=80)]


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]}, extra="forbid", strict=True)


class ProblemBody(BaseModel):
    """RFC 9457: `type` for programs, `detail` for people; limits add `found` and `limit`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:regrow:problem:one-class",
                    "title": "There are too few classes",
                    "status": 422,
                    "detail": "samples: of 1 class (cup), expected at least 2 classes",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str


class ModelBody(BaseModel):
    """A bundle that is served."""

    digest: str = Field(description="SHA-256 of the bundle, its identity", examples=["9f2c" * 16])
    name: str
    task: Literal["classification", "regression"]
    shape: list[int] = Field(description="of one sample", examples=[[1, 28, 28]])
    kind: Literal["image", "vector"]
    rate: int = Field(description="values per second that recordings are brought to", examples=[16000])
    labels: list[str] | None = Field(description="fixed class names, or null where the user names them")
    min_ways: int
    max_ways: int
    outputs: int
    rule: str
    steps: int = Field(description="update steps unless an adaptation asks for others")
    stepwise: bool = Field(description="whether an adaptation reports every step, or only its end")
    engine: str
    parameters: int
    adaptable: int
    peak_bytes: dict[str, int] = Field(description="planned memory by number of samples")
    budget_bytes: int | None


class SessionRequest(BaseModel):
    """Where a session begins: the bundle, or a saved calibration of it."""

    model_config = _example(model="glyphs", name="kitchen door")

    model: Id = Field(description="digest, or name where only one model has it")
    name: Name = "calibration"
    delta: Id | None = None


class NameRequest(BaseModel):
    """A name."""

    model_config = _example(name="kitchen door")

    name: Name


class LoadRequest(BaseModel):
    """Which saved calibration to put on top."""

    model_config = _example(delta="dpKYyNnKkDE3nSkHZ2DUXA")

    delta: Id


class AdaptRequest(BaseModel):
    """How to learn. `start` "bundle" forgets what was learned before; "current" builds on it."""

    model_config = _example(steps=5, start="bundle")

    steps: Annotated[int, Field(ge=1)] | None = None
    start: Literal["current", "bundle"] = "current"


class HeldBackRequest(BaseModel):
    """Whether a sample is kept for checking instead of learned from."""

    model_config = _example(held_back=True)

    held_back: bool


class SampleBody(BaseModel):
    """A stored sample."""

    id: int
    label: str
    held_back: bool
    created: float = Field(description="seconds since 1970")


class CheckBody(BaseModel):
    """Held-back samples, and how many of them are right now and without learning."""

    samples: int
    right: int
    right_before: int


class LayerBody(BaseModel):
    """What learning changed in one layer; `change` is relative to the size of its weights."""

    layer: str
    values: int
    moved: int
    change: float


class ReportBody(BaseModel):
    """What one adaptation did."""

    losses: list[float] = Field(description="loss before each step", examples=[[1.58, 0.71, 0.32]])
    loss: float = Field(description="loss after the last step")
    steps: int
    samples: int
    elapsed_ms: float
    peak_bytes: int
    memory: Literal["exact", "bounded", "estimated"]
    engine: str
    stepwise: bool
    classes: dict[str, int]
    check: CheckBody | None
    layers: list[LayerBody]


class SessionBody(BaseModel):
    """A session in a list."""

    id: str
    model: str
    name: str
    created: float
    touched: float


class SessionDetails(SessionBody):
    """A session with all that is known of it; `undo` is how often it can step back."""

    samples: list[SampleBody]
    classes: dict[str, int] = Field(description="samples learned, by class")
    adaptations: int
    undo: int
    busy: bool
    report: ReportBody | None = Field(description="of the last adaptation, unless a calibration was loaded")


class AnswerBody(BaseModel):
    """One query. A classification has label and probabilities, in the order of `classes`; else `values`."""

    label: str | None = None
    probability: float | None = None
    probabilities: list[float] | None = None
    values: list[float] | None = None


class PredictionBody(BaseModel):
    """Answers to a batch of queries."""

    elapsed_ms: float
    classes: list[str]
    predictions: list[AnswerBody]


class DeltaBody(BaseModel):
    """A saved calibration."""

    id: str
    model: str
    name: str
    bytes: int
    created: float


class SamplesBody(BaseModel):
    """What was stored."""

    samples: list[SampleBody]


class NumbersBody(BaseModel):
    """The numbers of a sample."""

    x: list[Any]


class HealthBody(BaseModel):
    """The service answers."""

    status: Literal["ok"]
    version: str
