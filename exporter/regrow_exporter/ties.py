"""Tensors that a network holds under several names: one tensor, stored and adapted once, under the first."""

from collections.abc import Iterable, Mapping

from torch import nn


def ties(module: nn.Module) -> dict[str, str]:
    """Every further name of a parameter or buffer, and its first."""
    firsts: dict[int, str] = {}
    made: dict[str, str] = {}
    pairs = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for name, tensor in pairs:
        first = firsts.setdefault(id(tensor), name)
        made |= {name: first} if first != name else {}
    return made


def named_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Parameters under all their names, so that any of them may be asked for."""
    return {n: tuple(p.shape) for n, p in module.named_parameters(remove_duplicate=False)}


def first_names(names: Iterable[str], tied: Mapping[str, str]) -> tuple[str, ...]:
    """Each tensor once, under its first name."""
    return tuple(dict.fromkeys(tied.get(name, name) for name in names))
