"""Bundles to write as C, and how the C is built and run."""

import os
import shutil
import subprocess

import numpy as np
import pytest
import torch

from regrow import bundle
from regrow_exporter import export
from tests.exporter.networks import network


def masked(module, density):
    """Random masks for every weight but the head's, and the module with them applied."""
    generator = torch.Generator().manual_seed(3)
    masks = {}
    for name, p in module.named_parameters():
        if p.ndim > 1 and "head" not in name and density < 1:
            masks[name] = torch.rand(p.shape, generator=generator) < density
            masks[name].view(-1)[0] = True
            p.data.mul_(masks[name])
    return masks


# name: network, density, and what else the export is told
MODELS = {
    "sparse": ("conv4", 0.25, {"adaptable": ["*"], "lr": 0.05}),
    "dense": ("conv4", 1.0, {"adaptable": ["*"], "rule": "momentum", "lr": 0.05}),
    "adam": ("residual", 0.25, {"adaptable": ["*"], "rule": "adam", "lr": 0.01}),
    "complement": ("conv4", 0.5, {"adaptable": ["*"], "update": "pruned", "lr": 0.05}),
    "head": ("strided", 0.25, {"adaptable": ["head.*"], "lr": 0.1}),
    "mixed": ("mixed", 1.0, {"adaptable": ["*"], "lr": 0.05}),
    "frozen": ("frozen", 1.0, {"adaptable": ["*"], "lr": 0.01}),
    "sine": ("sine", 1.0, {"adaptable": ["*"], "lr": 0.01, "loss": "mse"}),
    "prototype": ("conv4", 0.25, {"rule": "prototype"}),
    "gru": ("gru", 1.0, {"adaptable": ["*"], "lr": 0.05}),
}


def write_bundle(name, path):
    """Export one of the models."""
    kind, density, options = MODELS[name]
    module, shape, _ = network(kind)
    masks = masked(module, density)
    torch.manual_seed(4)
    export(module, torch.rand(6, *shape), masks=masks or None, path=path, **options)
    return bundle.read(path)


def tool(*names):
    """The first of some programs that is there; skips where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}; on Debian: see docs/metal.md")
    return found


def make(folder, target="check", dump=True, **variables):
    """Build and run; what it printed."""
    tool("make")
    if dump:
        key = "ARM_CFLAGS" if target.startswith(("m4", "m7", "m55", "check-m")) else "CFLAGS"
        variables[key] = f"{variables.get(key, '-O1')} -DDUMP -Werror"
    command = ["make", "-C", str(folder), target, *(f"{k}={v}" for k, v in variables.items())]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert not dump or "warning" not in done.stderr, done.stderr
    # What a board prints through its debugger comes out of QEMU's standard error.
    return done.stdout + done.stderr


def dumped(text, bound):
    """The adapted values that the example printed, by name."""
    words = [line for line in text.splitlines() if len(line) == 8 and set(line) <= set("0123456789abcdef")]
    data = np.array([int(w, 16) for w in words], np.uint32).tobytes()
    offsets = bound.offsets
    assert offsets[""] == len(data)
    return {n: np.frombuffer(data, a.dtype, a.size, offsets[n]) for n, a in bound.changing.items()}
