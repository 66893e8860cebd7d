"""The native core runs what the exporter writes: every network beside onnxruntime and the fp64 reference."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regrow import reference
from regrow.engines import core
from regrow.plan.kept import packs
from regrow.plan.lifted import lifted
from regrow.plan.make import missing, plan_adapt, plan_predict
from regrow_exporter import deviation, verify
from regrow_exporter.drafting import environment
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_adapt
from regrow_exporter.programs import build
from regrow_trainer.rules.adam import adam
from regrow_trainer.rules.momentum import momentum
from regrow_trainer.rules.sgd import sgd
from tests.exporter.networks import NETWORKS, learner
from tests.runtime.native.drive import kept_of, run

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

STEPS = 3


def narrow(array):
    """Floats as the core takes them."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


class Case:
    """A network, its programs, one episode, and what the reference makes of it."""

    def __init__(self, name, masks=None, rule=None, steps=STEPS):
        moves = masks or {}
        self.learner = learner(name, moves=moves, rule=rule)
        with torch.no_grad():
            for tensor, mask in moves.items():
                dict(self.learner.module.named_parameters())[tensor].mul_(mask)
        programs = build(self.learner)
        self.programs, self.steps = programs.deployed, steps
        x, y = verify.verification_episode(self.learner, programs.outputs)
        env = {**environment(self.learner, programs), "x": x, "y": y}
        env["active"] = np.ones(programs.outputs, np.bool_)
        self.env = {n: narrow(a) for n, a in env.items()}
        self.exact, self.losses = reference.adapt(self.programs, self.env, steps)
        self.batch = len(x)

    def native(self, kept=None, width=None):
        """Everything the core makes of it, by name."""
        plan = plan_adapt(self.programs, self.batch, kept or {})
        made = {"losses": np.empty(self.steps, np.float32), "final_loss": np.empty((), np.float32)}
        for block in plan.blocks:
            name = block.removeprefix("out:")
            if block != name and name not in made:
                made[name] = np.empty_like(narrow(self.exact[name]))
        status, _ = run(plan, self.env | {f"out:{n}": a for n, a in made.items()}, self.steps, width)
        assert status == 0, core.text(status)
        return made

    def moved(self, made):
        """How far each adaptable parameter went."""
        return {n: np.asarray(made[n], np.float64) - self.env[n] for n in self.learner.adaptable if n in made}


def worst(found, exact):
    return max(deviation.errors(found, exact, deviation.SHARE).values())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_adapts_as_on_onnxruntime(name):
    case = Case(name)
    assert not missing(case.programs)
    made = case.native()
    graph = OnnxGraph(write_adapt(case.programs, case.env))
    out = graph.run(case.env, steps=STEPS)
    other = {n: out[f"new:{n}"] for n in case.learner.adaptable}
    exact = case.moved(case.exact)
    # A few steps multiply what fp32 loses in one; the other engine says by how much in this network.
    limit = max(8 * worst(case.moved(other), exact), 2e-4)
    assert worst(case.moved(made), exact) < limit
    np.testing.assert_allclose(made["losses"], case.losses, rtol=1e-4, atol=1e-6)
    for stat in [n for n in made if n.startswith("stat:")]:
        np.testing.assert_allclose(made[stat], case.exact[stat], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_predicts_as_the_reference(name):
    case = Case(name)
    single = {n: narrow(a) for n, a in case.exact.items()}
    for batch in (1, case.batch):
        plan = plan_predict(case.programs["predict"], batch, {})
        env = {**case.env, **single, "x": case.env["x"][:batch]}
        exact = reference.run(case.programs["predict"], env)["logits"]
        logits = np.empty(exact.shape, np.float32)
        status, _ = run(plan, env | {"out:logits": logits})
        assert status == 0, core.text(status)
        np.testing.assert_allclose(logits, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def random_masks(name, density=0.3):
    module = learner(name).module
    generator = torch.Generator().manual_seed(3)
    made = {}
    for tensor, p in module.named_parameters():
        if p.ndim > 1 and "head" not in tensor:
            made[tensor] = torch.rand(p.shape, generator=generator) < density
            made[tensor].view(-1)[0] = True
    return made


@pytest.mark.parametrize("rule", [sgd(0.05), momentum(0.05), adam(0.01)], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("name", ["conv4", "strided", "residual", "sine", "signal", "audio"])
def test_packed_weights_adapt_as_whole_ones(name, rule):
    case = Case(name, random_masks(name), rule)
    masks = {n: m.numpy() for n, m in case.learner.moves.items()}
    kept = kept_of(masks)
    # A filter per channel stays whole.
    grouped = {"each1.weight", "last.0.weight"} if name == "audio" else set()
    assert {n for n in packs(*lifted(case.programs, kept)) if n in masks} == set(masks) - grouped
    packed, whole = case.native(kept), case.native()
    exact = case.moved(case.exact)
    limit = max(8 * worst(case.moved(whole), exact), 2e-4)
    assert worst(case.moved(packed), exact) < limit
    for name_, mask in masks.items():
        assert not packed[name_][~mask].any()


def test_a_thousand_steps_leave_the_zeros_alone():
    masks = random_masks("conv4")
    case = Case("conv4", masks, sgd(0.001))
    case.steps = 1000
    made = case.native(kept_of({n: m.numpy() for n, m in masks.items()}))
    for name, mask in masks.items():
        assert not made[name][~mask.numpy()].any()
        assert (made[name] != case.env[name])[mask.numpy()].any()
    assert made["final_loss"] < made["losses"][0]


def test_the_complement_of_a_mask_adapts_whole():
    masks = {n: ~m for n, m in random_masks("conv4").items()}
    case = Case("conv4")
    case = Case("conv4", masks)
    made = case.native()
    for name, mask in masks.items():
        still = ~mask.numpy()
        np.testing.assert_array_equal(made[name][still], case.env[name][still])
    assert worst(case.moved(made), case.moved(case.exact)) < 1e-3


def test_widths_agree_and_each_repeats_its_bits():
    case = Case("conv4", random_masks("conv4"))
    kept = kept_of({n: m.numpy() for n, m in case.learner.moves.items()})
    made = [case.native(kept, width) for width in range(core.library().regrow_width() + 1)]
    again = case.native(kept, 0)
    assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in made[0].items()}
    # A bias before a norm has a gradient of rounding only, which no two sums agree on.
    first = {n: move for n, move in case.moved(made[0]).items() if not n.endswith("conv.bias")}
    for other in made[1:]:
        assert worst({n: case.moved(other)[n] for n in first}, first) < 2e-4
