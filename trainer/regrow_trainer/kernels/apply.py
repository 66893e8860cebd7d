"""The one call of torch's that its stubs leave without types."""

from __future__ import annotations

from typing import Any

from torch.autograd import Function


def apply(function: type[Function], *args: Any) -> Any:
    """Run a function that brings its own derivative."""
    return function.apply(*args)  # type: ignore[no-untyped-call]
