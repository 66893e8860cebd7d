"""`python -m regrow_trainer.peer BUNDLE EPISODE`: the same adaptation in eager torch, to be measured beside.

Plain torch as one would write it for a server: one thread, autograd over the adaptable parameters, the rule's
own update, support statistics kept for the queries. It follows only paths inside this package, whatever a
bundle says.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from regrow import bundle as bundles
from regrow import samples
from regrow.bench.subject import Episode, read_episode, serve
from regrow.bundle import Bundle
from regrow.errors import BundleError, UnsupportedError
from regrow_trainer import backbones, rules
from regrow_trainer.norm import BatchNorm
from regrow_trainer.tensors import Tensors, keep, to_tensors

TRUSTED = "regrow_trainer."


class Frozen(nn.Module):
    """A batch norm with fixed statistics; weight and bias are those of the norm it stands for."""

    mean: Tensor
    var: Tensor

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        self.norm = norm
        self.register_buffer("mean", torch.zeros_like(norm.bias))
        self.register_buffer("var", torch.ones_like(norm.bias))

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x, self.mean, self.var, self.norm.weight, self.norm.bias, False, 0.0, self.norm.eps
        )

    def take(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A hook of the training norm: remember the statistics of what goes in."""
        x = inputs[0].detach()
        self.var, self.mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0)


class TorchSubject:
    """The bundle's backbone with the bundle's weights."""

    def __init__(self, bundle: Bundle, episode: Episode) -> None:
        made = bundle.manifest
        if made.rule.kind == "metric":
            raise UnsupportedError(
                f"{bundle.path}: a metric head, expected a rule that steps; drop the torch peer"
            )
        self.module = _module(bundle)
        self.deployed, self.frozen = _deployed(self.module, made.policy.batch_norm)
        self.rule = rules.build(_trusted(bundle, made.rule.path), made.rule.args)
        self.steps = made.rule.steps
        self.base = to_tensors(bundle.params)
        self.meta, self.state = to_tensors(bundle.meta), to_tensors(bundle.state)
        self.params = dict(self.module.named_parameters())
        self.moving = [p.name for p in made.parameters if p.adaptable != "none"]
        self.masks = _masks(bundle)
        self.x = torch.from_numpy(samples.as_input(episode.x, made.input, "support"))
        self.query = torch.from_numpy(samples.as_input(episode.query, made.input, "query"))
        self.y = torch.from_numpy(np.array(episode.y))
        self.regression = made.task == "regression"
        self.active = None if self.regression else _active(episode.y, made.output.shape[0])
        for name, parameter in self.params.items():
            parameter.requires_grad_(name in self.moving)

    def adapt(self) -> None:
        """From the bundle's weights, K steps, then the statistics of the support set."""
        with torch.no_grad():
            for name in self.moving:
                self.params[name].copy_(self.base[name])
        state = dict(self.state)
        old: Tensors = {name: self.params[name] for name in self.moving}
        for step in range(self.steps):
            grads = torch.autograd.grad(self._loss(), list(old.values()))
            state = self._update(old, dict(zip(self.moving, grads, strict=True)), state, step)
        hooks = [frozen.norm.register_forward_pre_hook(frozen.take) for frozen in self.frozen]
        with torch.no_grad():
            self._loss()
        for hook in hooks:
            hook.remove()

    def _update(self, old: Tensors, grads: Tensors, state: Tensors, step: int) -> Tensors:
        with torch.no_grad():
            new, state = self.rule.update(self.meta, old, grads, state, torch.tensor(step))
            for name, tensor in keep(self.masks, new, old).items():
                old[name].copy_(tensor)
        return state

    def _loss(self) -> Tensor:
        answer = self.module(self.x)
        if self.regression:
            return functional.mse_loss(answer, self.y)
        return functional.cross_entropy(self._masked(answer), self.y)

    def _masked(self, answer: Tensor) -> Tensor:
        return answer if self.active is None else answer.masked_fill(~self.active, -torch.inf)

    def predict(self, count: int) -> NDArray[Any]:
        with torch.no_grad():
            made: NDArray[Any] = self._masked(self.deployed(self.query[:count])).numpy()
        return made


def _trusted(bundle: Bundle, path: str) -> str:
    if not path.startswith(TRUSTED):
        raise BundleError(
            f"{bundle.path}: names code at {path!r}, expected a path below {TRUSTED}; only that is followed"
        )
    return path


def _module(bundle: Bundle) -> nn.Module:
    """The backbone that provenance names, holding the bundle's weights."""
    named = bundle.manifest.provenance.get("backbone")
    if not isinstance(named, dict) or not isinstance(named.get("args"), dict):
        raise UnsupportedError(
            f"{bundle.path}: provenance.backbone is {named!r}, expected path and args; "
            "export from a checkpoint"
        )
    module = backbones.build(_trusted(bundle, str(named.get("path"))), named["args"], seed=0)
    own = {name: tuple(p.shape) for name, p in module.named_parameters()}
    stored = {name: array.shape for name, array in bundle.params.items()}
    if own != stored:
        odd = sorted(set(own.items()) ^ set(stored.items()))[:3]
        raise UnsupportedError(
            f"{bundle.path}: backbone and bundle differ in {odd}, expected the same parameters; export again"
        )
    weights = to_tensors(bundle.params)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[name])
    return module


def _deployed(module: nn.Module, policy: str) -> tuple[nn.Module, list[Frozen]]:
    """A twin for queries that shares every parameter, its batch norms frozen where the policy says so."""
    if policy == "running":
        raise UnsupportedError(
            "policy running: backbones here keep no running statistics; bench without torch"
        )
    if policy != "support":
        return module, []
    twin = copy.deepcopy(module, {id(p): p for p in module.parameters()})
    norms = {name: m for name, m in module.named_modules() if isinstance(m, BatchNorm)}
    frozen = {name: Frozen(norm) for name, norm in norms.items()}
    for name, layer in frozen.items():
        twin.set_submodule(name, layer)
    return twin, list(frozen.values())


def _masks(bundle: Bundle) -> Tensors:
    """Where a masked parameter may move."""
    moves = {p.name: bundle.moves(p) for p in bundle.manifest.parameters if p.adaptable != "none"}
    return to_tensors({n: mask for n, mask in moves.items() if mask is not None})


def _active(y: NDArray[Any], outputs: int) -> Tensor | None:
    """The outputs in use; None where that is all of them, so that nothing is masked needlessly."""
    active = np.isin(np.arange(outputs), y)
    return None if active.all() else torch.from_numpy(active)


def main(bundle: str, episode: str) -> int:
    """Serve until told to quit."""
    torch.set_num_threads(1)
    return serve(lambda: TorchSubject(bundles.read(bundle), read_episode(episode)))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
