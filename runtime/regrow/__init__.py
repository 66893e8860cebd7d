"""Teach a deployed model from a handful of examples, on the device, without torch.

    model = regrow.open("keypad.regrow")
    session = model.session()
    session.adapt(x, y)
    session.predict(x).labels

Importing this package imports nothing else; names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from regrow.errors import AdaptError, BudgetError, BundleError, RegrowError, SampleError, UnsupportedError

if TYPE_CHECKING:
    from regrow.growth import ClassReport
    from regrow.inference import Prediction
    from regrow.model import Model, open
    from regrow.router import route
    from regrow.session import AdaptReport, Session

    __version__: str

_HOMES = {
    "AdaptReport": "regrow.session",
    "ClassReport": "regrow.growth",
    "Model": "regrow.model",
    "Prediction": "regrow.inference",
    "Session": "regrow.session",
    "open": "regrow.model",
    "route": "regrow.router",
}

__all__ = [
    "AdaptError",
    "AdaptReport",
    "BudgetError",
    "BundleError",
    "ClassReport",
    "Model",
    "Prediction",
    "RegrowError",
    "SampleError",
    "Session",
    "UnsupportedError",
    "open",
    "route",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("regrow")
    if name not in _HOMES:
        raise AttributeError(f"module 'regrow' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
