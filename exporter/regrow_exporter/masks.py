"""Which positions of a network are pruned: torch's pruning hooks, a dict of masks, zeros where asked.

The user's module is never touched; hooks are folded in a copy, and names stay the ones a user knows.
"""

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import prune

from regrow.errors import BundleError, UnsupportedError
from regrow_exporter.ties import ties

Masks = dict[str, torch.Tensor]
_ORIGINAL, _MASK = "_orig", "_mask"


def copied(module: nn.Module) -> tuple[nn.Module, Masks]:
    """A copy with every pruning hook folded into its weight, and the masks the hooks held."""
    # A pruned weight is computed, no leaf, and such a tensor refuses to be copied along with its module.
    computed = [t for m in module.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    made = copy.deepcopy(module, {id(t): t.detach().clone() for t in computed})
    masks: Masks = {}
    for path, layer in made.named_modules():
        for name in _pruned_names(layer):
            mask = getattr(layer, name + _MASK).bool()
            prune.remove(layer, name)  # type: ignore[no-untyped-call]
            masks[f"{path}.{name}" if path else name] = mask
    return made, masks


def _pruned_names(layer: nn.Module) -> list[str]:
    hooks = layer._forward_pre_hooks.values()
    return [hook._tensor_name for hook in hooks if isinstance(hook, prune.BasePruningMethod)]


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], place: str) -> None:
    """Load a state dict, also one saved with pruning hooks that `module` lacks: it gets them."""
    wanted = set(module.state_dict())
    hooked = [n.removesuffix(_MASK) for n in state if n.endswith(_MASK) and n not in wanted]
    hooked = [n for n in hooked if n in wanted and n + _ORIGINAL in state]
    used = {n + suffix for n in hooked for suffix in (_ORIGINAL, _MASK)}
    plain = {n: t for n, t in state.items() if n not in used}
    try:
        module.load_state_dict({**plain, **{n: state[n + _ORIGINAL] for n in hooked}})
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise BundleError(f"{place}: {text}; give the weights of this very module") from error
    for name in hooked:
        path, _, leaf = name.rpartition(".")
        prune.custom_from_mask(module.get_submodule(path), leaf, state[name + _MASK])  # type: ignore[no-untyped-call]


def merged(module: nn.Module, found: Masks, given: Mapping[str, torch.Tensor] | str | None) -> Masks:
    """Kept positions per masked parameter: those found in hooks and those given, which must agree."""
    params = {n: p.detach() for n, p in module.named_parameters()}
    if isinstance(given, str):
        if given != "zeros":
            raise UnsupportedError(f"export: masks={given!r}, expected 'zeros' or a dict of tensors")
        given = {
            n: p != 0 for n, p in params.items() if n not in found and p.ndim > 1 and bool((p == 0).any())
        }
    tied = ties(module)
    named = {tied.get(n, n): mask.bool() for n, mask in (given or {}).items()}
    for name in named.keys() & found.keys():
        if not torch.equal(named[name], found[name]):
            raise UnsupportedError(
                f"export: masks[{name!r}] differs from the mask torch.nn.utils.prune left there; give one"
            )
    masks = {**found, **named}
    for name, mask in masks.items():
        _check(name, mask, params)
    return masks


def _check(name: str, mask: torch.Tensor, params: Mapping[str, torch.Tensor]) -> None:
    if name not in params or mask.shape != params[name].shape:
        raise UnsupportedError(
            f"export: masks[{name!r}] of shape {tuple(mask.shape)}: no parameter of that name and shape"
        )
    if not bool(mask.any()):
        raise UnsupportedError(f"export: masks[{name!r}] keeps nothing; remove the layer instead")
    if bool((params[name][~mask] != 0).any()):
        raise UnsupportedError(f"export: {name} has pruned weights that are not zero; apply the mask first")
