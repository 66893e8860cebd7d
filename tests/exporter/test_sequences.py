"""What is refused of sequences, branches and losses, and what is left out of the program."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

import regrow
from regrow import selftest
from regrow.errors import UnsupportedError
from regrow_exporter import export
from regrow_exporter.programs import Learner, build
from regrow_trainer.rules.sgd import sgd
from tests.exporter import sequence_networks
from tests.exporter.networks import learner, network


class Applied(nn.Module):
    """An op before a linear head."""

    def __init__(self, op, width):
        super().__init__()
        self.op, self.head = op, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.op(x))


REFUSED = {
    "samples apart": (lambda x: x[:1].expand_as(x), "batch"),
    "one sample": (lambda x: x[0] + x, "batch"),
    "half the samples": (lambda x: torch.cat(x.split(3, 0)), "any number of samples"),
    "batches joined": (lambda x: torch.cat([x, x]).reshape(x.shape[0], 8)[:, :4], "joining batches"),
    "a batch repeated": (lambda x: x.repeat(2, 1).reshape(-1, 8)[:, :4], "repeating a batch"),
    "rows per sample": (lambda x: x + torch.ones(2, 4).repeat(x.shape[0], 1)[:1], "every sample"),
    "a decision": (lambda x: x if x.sum() > 0 else -x, "branch on no tensor"),
    "a number per sample": (lambda x: x + torch.arange(x.shape[0])[:, None], "every sample"),
    "columns by number": (lambda x: x[:, torch.tensor([3, 1, 0, 2])], "row numbers"),
    "half precision": (lambda x: x.half().float(), "float16"),
    "double precision": (lambda x: (x.double() * 2).float(), "float64"),
    "sizes added": (lambda x: x / (x.shape[0] + 1), "as a number"),
    "a number of a tensor": (lambda x: x * x.sum().item(), "as a number"),
    "an unknown op": (lambda x: x.cumsum(1), "aten.cumsum"),
    "a huge constant": (lambda x: x + torch.arange(20000.0)[:4], "register it as a buffer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_on_the_device_is_refused(name):
    op, words = REFUSED[name]
    module = Applied(op, 4)
    names = tuple(n for n, _ in module.named_parameters())
    with pytest.raises(UnsupportedError, match=words):
        build(Learner(module, (4,), names, sgd(0.1), sgd(0.1).meta({}), "cross_entropy", {}))


ATTENTION = {
    "dropout": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    "grouped": lambda x: F.scaled_dot_product_attention(
        x[:, None].expand(-1, 2, -1, -1), x[:, None], x[:, None], enable_gqa=True
    ).mean(1),
    "between layers": nn.LSTM(4, 4, 2, batch_first=True, dropout=0.5),
    "proj": nn.LSTM(4, 5, batch_first=True, proj_size=4),
    "any number of samples": nn.GRU(4, 4),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("words", ATTENTION)
def test_attention_and_recurrence_say_what_they_lack(words):
    made = ATTENTION[words]
    op = (lambda x: made(x)[0].mean(1)) if isinstance(made, nn.Module) else (lambda x: made(x).mean(1))
    module = Applied(op, 4)
    with pytest.raises(UnsupportedError, match=words):
        build(Learner(module, (3, 4), ("head.weight",), sgd(0.1), sgd(0.1).meta({}), "cross_entropy", {}))


def test_a_frozen_recurrent_body_leaves_nothing_recurrent_in_the_step():
    step = build(learner("lstm", lambda name: name.startswith("head"))).deployed["step"]
    assert not {op.kind for op in step.ops} & {"tanh", "sigmoid", "split", "concat", "slice"}


def test_one_product_serves_all_steps_of_a_sequence():
    """Only what depends on the step before is done step by step."""
    forward = build(learner("gru")).deployed["predict"]
    linear = [op for op in forward.ops if op.kind == "linear"]
    assert len(linear) == 2 * (1 + 3) + 1  # per direction one for the inputs, three recurrent; the head


def test_buffers_of_whole_numbers_and_constants_need_no_storage(tmp_path):
    class Picked(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(3, 4))
            self.head = nn.Linear(4, 3)
            self.register_buffer("rows", torch.tensor([2, 0]))

        def forward(self, x):
            chosen = self.table.detach()[self.rows] * torch.tensor([[1.0], [0.5]])
            return self.head(x * chosen.sum(0))

    made = export(Picked(), torch.rand(6, 4), adaptable=["head.*"], path=tmp_path / "m.regrow", steps=2)
    assert {p.name for p in made.manifest.parameters} == {"head.weight", "head.bias", "table"}


def test_several_labels_per_sample_reach_the_device(tmp_path):
    module, shape, loss = network("tags")
    settings = {"adaptable": ["*"], "lr": 0.5, "steps": 20, "path": tmp_path / "m.regrow"}
    made = export(module, torch.rand(8, *shape), loss=loss, **settings)
    assert made.manifest.task == "regression"
    x, _ = selftest.episode(1, 6, 3, shape)
    y = (x[:, :3] > 0.5).astype(np.float32)
    session = regrow.open(made.path).session()
    report = session.adapt(x, y)
    logits = torch.from_numpy(session.predict(x).logits)
    assert report.loss < report.losses[0]
    want = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(y))
    assert report.loss == pytest.approx(want.item(), rel=1e-4)


def test_a_loss_of_ones_own_reaches_the_device(tmp_path):
    module, shape, loss = network("smoothed")
    made = export(module, torch.rand(8, *shape), adaptable=["*"], loss=loss, path=tmp_path / "m.regrow")
    x, y = selftest.episode(1, 6, 3, shape)
    report = regrow.open(made.path).session().adapt(x, y)
    outputs = module(torch.from_numpy(x)).detach()
    want = sequence_networks.smoothed(outputs, torch.from_numpy(y)).item()
    assert report.losses[0] == pytest.approx(want, rel=1e-5)


weighted = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]))


def test_a_loss_may_be_a_module_with_weights_of_its_own(tmp_path):
    module, shape, _ = network("smoothed")
    settings = {"adaptable": ["*"], "path": tmp_path / "m.regrow"}
    made = export(module, torch.rand(8, *shape), loss=f"{__name__}:weighted", **settings)
    x, y = selftest.episode(1, 6, 3, shape)
    report = regrow.open(made.path).session().adapt(x, y)
    want = weighted(module(torch.from_numpy(x)), torch.from_numpy(y)).item()
    assert report.losses[0] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reduction": "sum"}, "reduction"),
        ({"ignore_index": 1}, "ignored class"),
    ],
)
def test_losses_say_what_they_lack(settings, words, monkeypatch):
    monkeypatch.setattr(sequence_networks, "smoothed", nn.CrossEntropyLoss(**settings))
    with pytest.raises(UnsupportedError, match=words):
        build(learner("smoothed"))
