"""One error names everything that stands in the way of an export, each with its module and source line."""

import re

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch.nn.functional as F
from torch import nn

from regrow.errors import UnsupportedError
from regrow_exporter import export
from tests.exporter import user_rules


class Tail(nn.Module):
    def forward(self, x):
        return torch.erfinv(x * 0.01) + F.max_pool1d(x[:, None], 2, 1, dilation=2).sum(1).cumsum(1)[:, :1]


class Many(nn.Module):
    """Unknown ops, a known one with options that are not, one without a gradient; some behind others."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 4))
        self.register_buffer("rows", torch.tensor([2, 0, 1, 2]))
        self.tail = Tail()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = x * self.table[self.rows].sum(0)
        x = torch.fft.rfft(x).real[:, :3].repeat(1, 2)[:, :4]
        x = F.pad(self.tail(x), (1, 1), mode="replicate")[:, :4]
        return self.head(torch.remainder(x, 2.0))


def line(text):
    """The line of this file that holds a text."""
    with open(__file__, encoding="utf-8") as source:
        return 1 + next(i for i, row in enumerate(source) if text in row)


def refusal(module, tmp_path, **settings):
    with pytest.raises(UnsupportedError) as caught:
        export(module, torch.rand(6, 4), path=tmp_path / "m.regrow", **settings)
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


def test_all_of_them_are_in_one_error_with_module_and_line(tmp_path):
    text = refusal(Many(), tmp_path, adaptable=["*"], rule=f"{user_rules.__name__}:unsupported", rule_args={})
    wanted = {
        "aten.fft_rfft.default": "torch.fft.rfft(x)",
        "aten.erfinv.default": "torch.erfinv(x * 0.01)",
        "aten.cumsum.default": "torch.erfinv(x * 0.01)",
        "aten.max_pool1d.default": "torch.erfinv(x * 0.01)",
        "aten.pad.default": 'mode="replicate")',
        "aten.remainder.Scalar": "torch.remainder(x, 2.0)",
        "gather": "self.table[self.rows]",
    }
    rows = text.splitlines()[1:-1]
    for op, source in wanted.items():
        (row,) = [r for r in rows if op in r and "rule" not in r]
        assert f"test_refusal.py:{line(source)}" in row, row
    assert "tail" in next(r for r in rows if "erfinv" in r)
    assert "no gradient; freeze what it depends on" in next(r for r in rows if "gather" in r)
    (of_rule,) = [r for r in rows if "the rule" in r]
    assert "aten.bernoulli" in of_rule
    assert "user_rules.py" in of_rule
    assert int(re.search(r"(\d+) op\(s\)", text)[1]) == len(rows) == len(set(rows))


def test_no_gradient_is_asked_of_what_is_frozen(tmp_path):
    text = refusal(Many(), tmp_path, adaptable=["head.*"])
    assert "gather" not in text
    assert "aten.erfinv.default" in text


def test_the_error_comes_before_any_long_work(tmp_path, monkeypatch):
    from regrow_exporter import drafting, pipeline

    def never(*args, **kwargs):
        raise AssertionError("work that is lost")

    monkeypatch.setattr(drafting, "pack", never)
    for name in ("verify", "self_test", "measured_drafts", "write_checked"):
        monkeypatch.setattr(pipeline, name, never)
    assert "aten.erfinv.default" in refusal(Many(), tmp_path, adaptable=["*"])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        if x.sum() > 0:  # a decision
            x = -x
        return self.head(x)


def test_what_cannot_even_be_captured_names_its_line(tmp_path):
    text = refusal(Branching(), tmp_path, adaptable=["*"])
    assert f"in forward (test_refusal.py:{line('# a decision')})" in text
    assert "branch on no tensor" in text
