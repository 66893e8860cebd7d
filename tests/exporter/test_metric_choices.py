"""Metric heads in the choices of an export: precision, episodes, options of the loss, plain ONNX."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from torch import nn

import regrow
from regrow.errors import UnsupportedError
from regrow.evaluate import evaluate
from regrow.values import VALUES
from regrow_exporter import Episodes, export, programs
from regrow_exporter.metric import attach
from regrow_exporter.stages import Silent
from tests.exporter.few_shot import WAYS, clouds, example, parting
from tests.exporter.user_rules import primed

SIZES = {"n_way": WAYS, "k_shot": 2, "queries": 5, "seed": 4}
PRIMED = "tests.exporter.user_rules:primed"


def exported(tmp_path, module=None, **settings):
    settings = {"rule": "prototype", "path": tmp_path / "m.regrow", **settings}
    return export(module or parting(), example(), **settings)


def asked(count=40):
    return Episodes(clouds(), count=count, **SIZES)


@pytest.mark.parametrize("precision", VALUES)
def test_weights_are_rounded_but_not_what_the_head_starts_from(tmp_path, precision):
    made = exported(tmp_path, rule=PRIMED, precision=precision)
    stored = {p.name: p.values for p in made.manifest.parameters}
    assert stored["body.weight"] == precision
    assert (stored["head.sums"], stored["head.counts"]) == ("fp32", "fp32")
    start = regrow.open(made.path).session().parameters
    for name, value in primed().init(WAYS, 12).items():
        np.testing.assert_array_equal(start[f"head.{name}"], value.numpy())
    assert set(made.manifest.verification["engines"]["onnx"]) == {"fit", "fit_torch", "drift", "drift_torch"}


@pytest.mark.parametrize("precision", VALUES)
@pytest.mark.parametrize("rule", ["prototype", PRIMED])
def test_plain_onnx_fits_as_the_bundle_does(tmp_path, precision, rule):
    made = exported(tmp_path, rule=rule, precision=precision, onnx=tmp_path / "onnx")
    x, y = example().numpy(), np.arange(6) % WAYS
    device = regrow.open(made.path).session()
    report = device.adapt(x, y)
    session = ort.InferenceSession(str(tmp_path / "onnx" / "adapt.onnx"), providers=["CPUExecutionProvider"])
    feeds = {"x": x, "y": y, "active": np.ones(WAYS, bool), "steps": np.asarray(1, np.int64)}
    names = [o.name for o in session.get_outputs()]
    out = dict(zip(names, session.run(names, feeds), strict=True))
    np.testing.assert_allclose(out["loss"], report.losses, rtol=1e-5)
    for name, value in device.parameters.items():
        np.testing.assert_allclose(out[f"new:{name}"], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_manifest_states_what_a_device_scores(tmp_path):
    made = exported(tmp_path, episodes=asked())
    stated, model = made.manifest.provenance["accuracy"], regrow.open(made.path)
    for what, steps in (("before", 0), ("after", None)):
        assert stated[what] == evaluate(model, clouds(), steps=steps, episodes=40, **SIZES).to_json()
    # An empty head scores every class alike, and the first one is taken.
    assert stated["before"]["mean"] == pytest.approx(1 / WAYS)
    assert stated["gain"]["mean"] - stated["gain"]["half_width"] > 0.3


def test_auto_chooses_among_precisions_of_one_capture(tmp_path, monkeypatch):
    captures = []
    real = programs.import_fit
    monkeypatch.setattr(programs, "import_fit", lambda *args: captures.append(1) or real(*args))
    made = exported(tmp_path, rule=PRIMED, precision="auto", episodes=asked())
    rows = made.manifest.provenance["choice"]["precision"]["rows"]
    assert {r["precision"] for r in rows} == set(VALUES)
    assert [r["chosen"] for r in rows] == [True, False, False]
    assert captures == [1]
    plain = exported(tmp_path, rule=PRIMED, precision=rows[0]["precision"])
    assert made.manifest.selftest == plain.manifest.selftest


@pytest.mark.parametrize("episodes", [None, asked(4)])
def test_a_budget_has_nothing_to_choose(tmp_path, episodes):
    with pytest.raises(UnsupportedError, match=r"budget '1MB', '5ms': .*of a metric head nothing else does"):
        exported(tmp_path, budget=["1MB", "5ms"], episodes=episodes)
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_loss_hold_for_a_fit_too(tmp_path):
    options = {"label_smoothing": 0.1, "weight": [1.0, 2.0, 0.5, 4.0]}
    made = exported(tmp_path, ways=4, loss_args=options)
    assert made.manifest.provenance["loss"] == {"name": "cross_entropy", "args": options}
    x, y = example(), torch.arange(6) % 4
    session = regrow.open(made.path).session()
    loss = session.adapt(x.numpy(), y.numpy()).loss
    logits = torch.from_numpy(session.predict(x.numpy()).logits)
    expected = nn.functional.cross_entropy(logits, y, torch.tensor(options["weight"]), label_smoothing=0.1)
    assert loss == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(UnsupportedError, match="expected 5 above zero"):
        exported(tmp_path, ways=5, loss_args=options)


class Heard(Silent):
    """Remembers where an export was."""

    def __init__(self):
        self.shares = []

    def at(self, says, share):
        if says.startswith("verifying"):
            self.shares.append(share)


def test_the_proof_of_a_fit_says_how_far_it_is(tmp_path):
    stages = Heard()
    exported(tmp_path, stages=stages)
    assert len(stages.shares) > 4
    assert stages.shares == sorted(set(stages.shares))
    assert stages.shares[-1] < 0.85


class Tracking(nn.Module):
    """Normalises by statistics that it tracks itself."""

    def __init__(self):
        super().__init__()
        self.low, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, WAYS)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.low(x))))


@pytest.mark.parametrize(("head", "ways"), [("head", None), (None, 4)])
def test_finding_the_head_leaves_tracked_statistics_alone(head, ways):
    module = Tracking()
    attach(module, example(), primed(), head, ways)
    assert module.norm.num_batches_tracked == 0
    assert not module.norm.running_mean.any()
