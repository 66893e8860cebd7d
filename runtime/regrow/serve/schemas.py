"""Bodies of requests and answers as the OpenAPI shows them, each with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from regrow.serve import examples

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

    model_config = examples.shown(
        digest="9f2c" * 16,
        name="glyphs",
        task="classification",
        shape=[1, 28, 28],
        kind="image",
        rate=16000,
        labels=["alpha", "beta", "gamma", "delta", "eta"],
        min_ways=2,
        max_ways=5,
        outputs=5,
        rule="sgd",
        steps=5,
        stepwise=True,
        engine="native",
        parameters=111936,
        adaptable=18624,
        peak_bytes={"5": 148728, "25": 621304},
        budget_bytes=1048576,
    )

    digest: str = Field(description="SHA-256 of the bundle, its identity")
    name: str
    task: Literal["classification", "regression"]
    shape: list[int] = Field(description="of one sample")
    kind: Literal["image", "vector"]
    rate: int = Field(description="values per second that recordings are brought to")
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

    model_config = examples.shown(**examples.SAMPLE)

    id: int
    label: str
    held_back: bool
    created: float = Field(description="seconds since 1970")


class CheckBody(BaseModel):
    """Held-back samples, and how many of them are right now and without learning."""

    model_config = examples.shown(**examples.CHECK)

    samples: int
    right: int
    right_before: int


class LayerBody(BaseModel):
    """What learning changed in one layer; `change` is relative to the size of its weights."""

    model_config = examples.shown(**examples.LAYER)

    layer: str
    values: int
    moved: int
    change: float


class ReportBody(BaseModel):
    """What one adaptation did."""

    model_config = examples.shown(**examples.REPORT)

    losses: list[float] = Field(description="loss before each step")
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

    model_config = examples.shown(**examples.SESSION)

    id: str
    model: str
    name: str
    created: float
    touched: float


class SessionDetails(SessionBody):
    """A session with all that is known of it; `undo` is how often it can step back."""

    model_config = examples.shown(
        **examples.SESSION,
        samples=[examples.SAMPLE],
        classes={"open": 5, "closed": 5},
        adaptations=1,
        undo=1,
        busy=False,
        report=examples.REPORT,
    )

    samples: list[SampleBody]
    classes: dict[str, int] = Field(description="samples learned, by class")
    adaptations: int
    undo: int
    busy: bool
    report: ReportBody | None = Field(description="of the last adaptation, unless a calibration was loaded")


class AnswerBody(BaseModel):
    """One query. A classification has label and probabilities, in the order of `classes`; else `values`."""

    model_config = examples.shown(**examples.ANSWER)

    label: str | None = None
    probability: float | None = None
    probabilities: list[float] | None = None
    values: list[float] | None = None


class PredictionBody(BaseModel):
    """Answers to a batch of queries."""

    model_config = examples.shown(elapsed_ms=0.8, classes=["open", "closed"], predictions=[examples.ANSWER])

    elapsed_ms: float
    classes: list[str]
    predictions: list[AnswerBody]


class DeltaBody(BaseModel):
    """A saved calibration."""

    model_config = examples.shown(
        id="dpKYyNnKkDE3nSkHZ2DUXA", model="9f2c" * 16, name="kitchen door", bytes=4096, created=1764000400.0
    )

    id: str
    model: str
    name: str
    bytes: int
    created: float


class SamplesBody(BaseModel):
    """What was stored."""

    model_config = examples.shown(samples=[examples.SAMPLE])

    samples: list[SampleBody]


class NumbersBody(BaseModel):
    """The numbers of a sample."""

    model_config = examples.shown(x=[[0.1, 0.2, 0.3]])

    x: list[Any]


class HealthBody(BaseModel):
    """The service answers."""

    model_config = examples.shown(status="ok", version="1.0.0")

    status: Literal["ok"]
    version: str
