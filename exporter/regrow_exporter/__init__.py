"""Differentiate a torch network ahead of time and pack it for a device. Importing this imports no torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regrow_exporter.checkpoints import export_checkpoint as export_checkpoint
    from regrow_exporter.measure import Episodes as Episodes
    from regrow_exporter.pipeline import Exported as Exported
    from regrow_exporter.pipeline import export as export

_HOMES = {
    "export": "pipeline",
    "Exported": "pipeline",
    "Episodes": "measure",
    "export_checkpoint": "checkpoints",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regrow_exporter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"regrow_exporter.{_HOMES[name]}"), name)
