"""Pruned Conv4s, and a small one exported with its plain ONNX files, to be found small."""

import numpy as np
import torch

from regrow import selftest
from regrow_exporter import export
from regrow_trainer.backbones.conv4 import Conv4

PRECISIONS = ("fp32", "fp16", "int8")


def pruned(module, share=0.85, seed=0):
    """Random masks over the convolutions, applied."""
    rng = torch.Generator().manual_seed(seed)
    masks = {}
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim == 4:
                order = torch.rand(p.numel(), generator=rng).argsort()
                masks[name] = (order < round(p.numel() * (1 - share))).view(p.shape)
                p.mul_(masks[name])
    return masks


def export_small(tmp_path, precision, adaptable, share=0.8, **settings):
    """A small Conv4 with pruned convolutions, with its plain ONNX files."""
    torch.manual_seed(0)
    module, shape = Conv4((1, 14, 14), 5, 16, 3), (1, 14, 14)
    masks = pruned(module, share)
    made = export(
        module,
        torch.rand(8, *shape, generator=torch.Generator().manual_seed(3)),
        adaptable=adaptable,
        masks=masks,
        precision=precision,
        steps=3,
        lr=0.05,
        path=tmp_path / "m.regrow",
        onnx=tmp_path / "onnx",
        **settings,
    )
    return made, tmp_path / "onnx" / "adapt.onnx", tmp_path / "onnx" / "predict.onnx"


def episode(made):
    x, y = selftest.episode(3, 10, 5, made.manifest.input.shape)
    return x, y, {"x": x, "y": y, "active": np.ones(5, np.bool_), "steps": np.array(3)}
