"""What a finished demo knows: the shape of `results.json`. The page and the README read nothing else."""

from typing import TypedDict


class Estimate(TypedDict):
    """A mean with the half width of its 95 % interval."""

    mean: float
    half_width: float


class Accuracy(TypedDict):
    """One model on unseen episodes; queries one at a time. `controls` are by name, on the same episodes."""

    model: str
    shots: int
    episodes: int
    before: Estimate
    after: Estimate
    controls: dict[str, Estimate]


class Point(TypedDict):
    """One validation during training; iterations count from the first of the first run."""

    iteration: int
    accuracy: float


class Curve(TypedDict):
    """Validation accuracy over one model's training."""

    model: str
    points: list[Point]


class Picture(TypedDict):
    """One sample: grey values as base64 bytes, its class, and for a query what was predicted."""

    width: int
    height: int
    pixels: str
    label: str
    predicted: str | None


class Episode(TypedDict):
    """One problem as a device meets it: what it was shown, then what it was asked."""

    shots: int
    support: list[Picture]
    queries: list[Picture]


class Sizes(TypedDict):
    """Bytes on disk, and how many of the weights that may be pruned are left."""

    onnx_dense: int
    bundle_dense: int
    bundle_pruned: int
    weights: int
    kept: int


class Range(TypedDict):
    """A median with the interval that holds it at 95 %."""

    median: float
    low: float
    high: float


class Peer(TypedDict):
    """One engine on the same episode: all peers of a demo are measured in turns in one run."""

    name: str
    adapt_ms: Range
    predict_ms: Range
    cold_ms: Range
    above_import_bytes: Range
    peak_bytes: Range


class Results(TypedDict):
    """Everything the page shows."""

    format: int
    date: str
    commit: str | None
    machine: dict[str, str]
    versions: dict[str, str]
    n_way: int
    support: int
    recipe: str
    iterations: int
    accuracy: list[Accuracy]
    curves: list[Curve]
    episode: Episode
    sizes: Sizes
    peers: list[Peer]
    torch_free: bool
    seconds: dict[str, float]
    commands: list[str]
