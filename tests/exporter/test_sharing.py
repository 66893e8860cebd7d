"""One tensor in several places: its gradients are summed, it is stored once, and any of its names will do."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

import regrow
from regrow import reference, selftest
from regrow.engines import available
from regrow.moves import RowSet
from regrow_exporter import export
from regrow_exporter.drafting import environment
from regrow_exporter.programs import Learner, build
from regrow_trainer.rules.sgd import sgd


class TiedHead(nn.Module):
    """An embedding whose table is the head's weight too, as language models have it."""

    shape = (4, 6)

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 3, bias=False)
        self.mix = nn.Linear(3, 6)
        self.head = nn.Linear(6, 3)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.embed(x).mean(1))))


class SharedConv(nn.Module):
    """Two convolutions with one weight and biases of their own, and one norm after all three layers."""

    shape = (1, 6, 6)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        for layer in (self.stem, self.first, self.second):
            x = torch.tanh(self.norm(layer(x)))
        return self.head(F.avg_pool2d(x, 6).flatten(1))


class TwiceNamed(nn.Module):
    """One module under two names, with a buffer, used at both and once more."""

    shape = (4,)

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.again = self.layer
        self.register_buffer("scale", torch.tensor([0.5, 1.0, 2.0, 1.5]))
        self.register_buffer("same", self.scale)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.tanh(self.layer(x * self.scale))
        return self.head(torch.tanh(self.again(self.again(x) * self.same)))


NETWORKS = [TiedHead, SharedConv, TwiceNamed]


def network(make):
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_are_those_of_plain_autograd(make):
    module = network(make)
    names = tuple(n for n, _ in module.named_parameters())
    rule = sgd(0.1)
    learner = Learner(module, make.shape, names, rule, rule.meta({}), "cross_entropy", {})
    programs = build(learner)
    x, y = selftest.episode(1, 6, 3, make.shape)
    env = {**environment(learner, programs), "x": x, "y": y}
    found = reference.run(programs.gradient, env)
    twin = copy.deepcopy(module).double()
    F.cross_entropy(twin(torch.from_numpy(x).double()), torch.from_numpy(y)).backward()
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(found[f"grad:{name}"], parameter.grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("make", NETWORKS)
def test_a_device_adapts_as_torch_does_and_stores_each_tensor_once(make, tmp_path):
    module = network(make)
    x, y = selftest.episode(1, 9, 3, make.shape)
    path = tmp_path / "m.regrow"
    made = export(module, torch.from_numpy(x), adaptable=["*"], lr=0.1, steps=4, path=path)
    stored = [p.name for p in made.manifest.parameters]
    owned = [n for n, _ in (*module.named_parameters(), *module.named_buffers())]
    assert sorted(stored) == sorted(owned)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(4):
        optimiser.zero_grad()
        F.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimiser.step()
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    for engine in available():
        session = regrow.open(made.path, engine=engine).session()
        session.adapt(x, y)
        for name, parameter in module.named_parameters():
            # A bias before a norm moves by rounding alone.
            got = session.parameters[name]
            np.testing.assert_allclose(got, parameter.detach(), rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(session.predict(x).logits, want, rtol=1e-3, atol=1e-4)
        # Every use of a norm has statistics of its own, so a query alone is answered as among others.
        alone = np.concatenate([session.predict(x[i : i + 1]).logits for i in range(3)])
        np.testing.assert_allclose(alone, want[:3], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("patterns", "moving"),
    [
        (["head.weight"], {"embed.weight": "all"}),
        (["@head"], {"embed.weight": "all", "head.bias": "all"}),
        (["head.weight[0]", "embed.weight[2]"], {"embed.weight": RowSet("all", ((0, 1), (2, 3)))}),
        (["head.weight[0]", "embed.weight"], {"embed.weight": "all"}),
    ],
)
def test_any_name_will_do(patterns, moving, tmp_path):
    path = tmp_path / "m.regrow"
    made = export(network(TiedHead), torch.rand(6, 4, 6), adaptable=patterns, path=path)
    assert {p.name: p.adaptable for p in made.manifest.parameters if p.adaptable != "none"} == moving


def test_a_mask_may_go_by_another_name(tmp_path):
    module = network(TiedHead)
    mask = torch.rand(3, 6) < 0.5
    with torch.no_grad():
        module.head.weight.mul_(mask)
    path = tmp_path / "m.regrow"
    made = export(module, torch.rand(6, 4, 6), adaptable=["*"], masks={"head.weight": mask}, path=path)
    kept = regrow.open(made.path).bundle.kept["embed.weight"]
    np.testing.assert_array_equal(kept, mask.numpy())


class Stacked(nn.Module):
    """Two frozen convolutions with one weight, and a layer between them and the head."""

    shape = (1, 6, 6)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight
        self.low = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        for layer in (self.stem, self.first, self.second, self.low):
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("stem", "rows", "shape"),
    [
        # Row 2 of the shared weight is dead, but its first use still reads channel 2 of the stem.
        (False, (2,), (4, 4, 3, 3)),
        # Nobody needs channel 2 at any of its places, so it goes at all of them.
        (True, (2,), (3, 3, 3, 3)),
        (True, (0, 2), (2, 2, 3, 3)),
    ],
)
@pytest.mark.parametrize("engine", available())
def test_a_shared_weight_pruned_to_dead_is_cut_at_all_its_places_or_at_none(
    stem, rows, shape, engine, tmp_path
):
    module = network(Stacked)
    masks = {"second.weight": torch.ones(4, 4, 3, 3, dtype=torch.bool)}
    with torch.no_grad():
        for row in rows:
            masks["second.weight"][row] = False
            for layer in (module.first, module.second, *([module.stem] if stem else [])):
                layer.bias[row] = -0.5
                layer.weight[row] = 0.0
    if stem:
        masks["stem.weight"] = module.stem.weight.detach() != 0
    x, y = selftest.episode(1, 9, 3, Stacked.shape)
    answers = []
    for simplify in (True, False):
        path = tmp_path / f"{simplify}.regrow"
        settings = {"masks": masks, "simplify": simplify, "path": path, "steps": 3, "lr": 0.1}
        made = export(module, torch.from_numpy(x), **settings)
        stored = {p.name: p.shape for p in made.manifest.parameters}
        assert stored["first.weight"] == (shape if simplify else (4, 4, 3, 3))
        assert "second.weight" not in stored
        session = regrow.open(path, engine=engine).session()
        session.adapt(x, y)
        answers.append(session.predict(x).logits)
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)
