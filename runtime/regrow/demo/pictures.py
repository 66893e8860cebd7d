"""Grey samples as text: base64 bytes in the results, PNG data URIs on the page. Writes no file."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from regrow.demo.results import Picture
from regrow.episodes import png


def picture(sample: NDArray[np.float32], label: str, predicted: str | None = None) -> Picture:
    """A sample (1, h, w) in [0, 1], ink 1, with its class and, for a query, what was predicted."""
    _, height, width = sample.shape
    pixels = base64.b64encode(np.rint(sample * 255).astype(np.uint8).tobytes()).decode()
    return {"width": width, "height": height, "pixels": pixels, "label": label, "predicted": predicted}


def grey(shown: Picture) -> NDArray[np.uint8]:
    """The pixels (h, w), ink 255."""
    flat = np.frombuffer(base64.b64decode(shown["pixels"]), np.uint8)
    return flat.reshape(shown["height"], shown["width"])


def data_uri(shown: Picture) -> str:
    """A PNG data URI, ink dark on light."""
    return "data:image/png;base64," + base64.b64encode(png.encode(255 - grey(shown))).decode()
