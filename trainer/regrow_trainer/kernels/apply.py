"""How a function with its own derivatives is called, and how it is mapped over tasks."""

from __future__ import annotations

from typing import Any

from torch.autograd import Function


def apply(function: type[Function], *args: Any) -> Any:
    """The one call of torch's that its stubs leave without types."""
    return function.apply(*args)  # type: ignore[no-untyped-call]


class Mapped(Function):
    """One that only a map over tasks may call; its rule calls the function proper, outside of the map.

    There it needs no rules of `torch.func` for its derivatives, and costs a third per call.
    """

    @staticmethod
    def forward(*args: Any) -> Any:
        raise NotImplementedError("expected a map over tasks; call the function proper")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass
