"""A simplification that is wrong in one place is refused: the proof is against the module as it was given."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow_exporter import deviation, export
from regrow_exporter.simplify import coupling, norms, reading
from tests.exporter.dead_networks import SHAPE, dead


def exported(tmp_path, module, masks, **options):
    example = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(3))
    export(module, example, masks=masks, steps=3, lr=0.05, path=tmp_path / "m.regrow", **options)


def too_large(scale_and_shift):
    def wrong(norm, fixed):
        scale, shift = scale_and_shift(norm, fixed)
        return scale * (1 + 1e-6), shift

    return wrong


def lost(read):
    """Reads of a layer in which a constant is forgotten."""

    def wrong(net, known, op):
        found = read(net, known, op)
        return replace(found, constants=found.constants * 0.99)

    return wrong


def unneeded(stays):
    """One channel too many."""

    def wrong(self, ids):
        made = stays(self, ids)
        return made & (ids != self.ids("second.weight")[0][0])

    return wrong


def test_a_wrong_scale_is_refused(tmp_path, monkeypatch):
    module, masks = dead("plain", tracked=True)
    monkeypatch.setattr(norms, "scale_and_shift", too_large(norms.scale_and_shift))
    with pytest.raises(deviation.VerificationError, match="differs from torch fp64"):
        exported(tmp_path, module, masks)
    assert not list(tmp_path.iterdir())


def test_a_lost_constant_is_refused(tmp_path, monkeypatch):
    from regrow_exporter.simplify import cut

    module, masks = dead("plain")
    monkeypatch.setattr(cut, "reading", lost(reading.reading))
    with pytest.raises(deviation.VerificationError, match="differs from torch fp64"):
        exported(tmp_path, module, masks, precision="int8")


def test_a_channel_too_many_is_refused(tmp_path, monkeypatch):
    module, masks = dead("plain")
    monkeypatch.setattr(coupling.Coupling, "stays", unneeded(coupling.Coupling.stays))
    with pytest.raises((deviation.VerificationError, ValueError)):
        exported(tmp_path, module, masks)
