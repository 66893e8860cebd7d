"""Optimal brain surgeon on one layer, against what plain linear algebra says."""

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.nn import functional as F

from regrow_trainer.columns import blocks, columns, layer_of, matrix, parts, whole
from regrow_trainer.curvature import Curvature, Direct, Recursive, compensated, importance
from regrow_trainer.learner import Learner, Task, make_learner
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.tensors import Tensors

ALPHA = 1e-6


def inputs(rows: int = 60, width: int = 12, dead: bool = False) -> Tensor:
    """Correlated, as activations are."""
    torch.manual_seed(1)
    z = torch.randn(rows, width, dtype=torch.float64) @ torch.randn(width, width, dtype=torch.float64)
    if dead:
        z[:, 3] = 0
    return z


def summed(z: Tensor, size: int, alpha: float = ALPHA) -> Curvature:
    total = Direct(alpha)
    for block in torch.split(z, size):
        total.add(block)
    return total.done()


def corrected(z: Tensor, size: int, alpha: float = ALPHA) -> Curvature:
    total = Recursive(alpha, len(z))
    for block in torch.split(z, size):
        total.add(block)
    return total.done()


def weights(outputs: int = 5, width: int = 12) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(outputs, width, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_the_recursion_is_the_inverse(size: int, alpha: float) -> None:
    z = inputs(dead=True)
    wanted = torch.linalg.inv(alpha * torch.eye(12, dtype=z.dtype) + z.T @ z / len(z))
    found = corrected(z, size, alpha)
    assert found.inverted
    assert float((found.matrix - wanted).abs().max()) < 1e-10 / alpha
    direct = summed(z, size, alpha)
    assert float((torch.linalg.inv(direct.matrix) - wanted).abs().max()) < 1e-10 / alpha
    # A dead input tells nothing: only alpha holds its weight.
    assert float(found.matrix[3, 3]) == pytest.approx(1 / alpha)


def test_one_weight_costs_and_is_repaired_as_published() -> None:
    z, w = inputs(), weights()
    curvature = summed(z, 60)
    inverse = torch.linalg.inv(curvature.matrix)
    everything = torch.ones_like(w, dtype=torch.bool)
    scores = importance(curvature, w, everything)
    torch.testing.assert_close(scores, w**2 / (2 * inverse.diagonal()), rtol=1e-9, atol=0)
    kept = everything.clone()
    kept[2, 4] = False
    wanted = w.clone()
    wanted[2] -= w[2, 4] / inverse[4, 4] * inverse[:, 4]
    found = compensated(curvature, w, kept)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert float(found[2, 4]) == 0


def test_the_meta_objectives_own_curvature_is_left_out_by_as_much_as_the_rate_is_large() -> None:
    """ANP takes A for (I - aA) A (I - aA): on a parabola the difference is known."""
    z = inputs(width=4) / 4
    module = nn.Linear(4, 1, bias=False).double()
    a_matrix = 2 * z.T @ z / len(z)  # of the mean squared error
    judged = 2 * summed(z, len(z), 1e-12).matrix
    assert torch.allclose(judged, a_matrix, rtol=1e-8, atol=1e-8)
    zeros, gaps = torch.zeros(len(z), 1, dtype=torch.float64), []
    for rate in (1e-2, 1e-3):
        learner = make_learner(module, sgd(rate), ("*",), 1, "mse", "none")
        meta = {"lr": torch.tensor(rate, dtype=torch.float64)}

        def objective(w: Tensor, learner: Learner = learner, meta: Tensors = meta) -> Tensor:
            adapted = learner.adapt({"weight": w[None]}, meta, {}, z, zeros, 1)
            return learner.query_scores(adapted, Task(z, zeros, z, zeros)).loss

        true = hessian(objective, torch.randn(4, dtype=torch.float64))
        gap = judged - true
        a2 = a_matrix @ a_matrix
        assert torch.allclose(gap, 2 * rate * a2 - rate**2 * a2 @ a_matrix, rtol=1e-6, atol=1e-8)
        gaps.append(float(gap.norm()))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("removed", [1, 4, 9, 11])
@pytest.mark.parametrize("make", [summed, corrected])
def test_what_stays_is_the_constrained_least_squares_optimum(removed: int, make: object) -> None:
    z, w = inputs(200), weights()
    kept = torch.stack([torch.randperm(12) >= removed for _ in w])
    found = compensated(make(z, 50), w, kept)  # type: ignore[operator]
    assert not found[~kept].any()
    for row, mask, new in zip(w, kept, found, strict=True):
        best = torch.linalg.lstsq(z[:, mask], z @ row).solution
        torch.testing.assert_close(new[mask], best, rtol=1e-4, atol=1e-4)
        # The predicted increase, half of w_R^T (H^-1[R,R])^-1 w_R, is the measured one.
        inverse = torch.linalg.inv(summed(z, 50).matrix)[~mask][:, ~mask]
        predicted = 0.5 * row[~mask] @ torch.linalg.solve(inverse, row[~mask])
        measured = 0.5 * ((z @ (new - row)) ** 2).mean()
        assert float(measured) == pytest.approx(float(predicted), rel=1e-4)


@pytest.mark.parametrize("removed", [3, 9])
def test_the_side_that_is_solved_for_does_not_matter(removed: int) -> None:
    z, w = inputs(), weights()
    kept = torch.stack([torch.randperm(12) >= removed for _ in w])
    direct, inverted = summed(z, 60, 1e-2), corrected(z, 60, 1e-2)
    for function in (importance, compensated):
        one, other = function(direct, w, kept), function(inverted, w, kept)
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
        assert not one[~kept].any()


def test_a_weight_whose_twin_is_gone_is_dear() -> None:
    z = inputs()
    z[:, 1] = z[:, 0] + 1e-3 * torch.randn(len(z), dtype=z.dtype)
    w = weights(1)
    everything = torch.ones_like(w, dtype=torch.bool)
    alone = everything.clone()
    alone[0, 1] = False
    curvature = summed(z, 60)
    assert importance(curvature, w, everything)[0, 0] < 1e-3 * importance(curvature, w, alone)[0, 0]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (3, 4, 7, 9)),
        (lambda: nn.Conv2d(4, 6, (3, 1), padding=(0, 1), dilation=2, groups=2, bias=False), (3, 4, 7, 9)),
        (lambda: nn.Conv1d(4, 6, 5, padding=2, stride=3, groups=2), (3, 4, 11)),
        (lambda: nn.Linear(8, 5), (3, 8)),
        (lambda: nn.Linear(8, 5, bias=False), (2, 3, 8)),
    ],
)
def test_columns_times_weights_is_the_layer(make: object, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer: nn.Module = make()  # type: ignore[operator]
    x = torch.randn(shape)
    holder = nn.Sequential(layer)
    about = layer_of(holder, "0.weight")
    params = dict(holder.named_parameters())
    z = columns(layer, x, 10**6)
    assert about.constant == bool(about.bias)
    if about.constant:
        z = torch.cat([z, torch.ones(*z.shape[:2], 1)], 2)
    assert z.shape[2] == about.width
    out = z @ matrix(params, about).transpose(1, 2)  # (groups, n, outputs of a group)
    wanted = layer(x)
    if not isinstance(layer, nn.Linear):
        places = wanted.flatten(2)
        wanted = places.view(len(x), about.groups, -1, places.shape[2]).permute(1, 0, 3, 2)
    torch.testing.assert_close(out.flatten(), wanted.flatten(), rtol=1e-4, atol=1e-5)
    weight, bias = parts(about, matrix(params, about), params["0.weight"].shape)
    assert torch.equal(weight, params["0.weight"])
    assert bias is None or torch.equal(bias, params["0.bias"])


def test_a_norm_takes_the_shift_that_a_bias_would_carry() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, bias=False))
    normed, plain = layer_of(module, "0.weight"), layer_of(module, "2.weight")
    assert (normed.bias, normed.constant, normed.width) == ("", True, 19)
    assert (plain.bias, plain.constant, plain.width) == ("", False, 27)
    params = {n: p.detach() for n, p in module.named_parameters()}
    laid = matrix(params, normed)
    assert laid.shape == (1, 3, 19)
    assert not laid[..., -1].any()
    weight, bias = parts(normed, laid + 1, params["0.weight"].shape)
    assert torch.equal(weight, params["0.weight"] + 1)
    assert bias is None


def test_few_places_of_many_are_drawn_from_every_sample() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(5, 2, 8, 8)
    every, some = columns(layer, x, 10**6)[0], columns(layer, x, 50)[0]
    assert (len(every), len(some)) == (320, 50)
    patches = F.unfold(x, 3, padding=1).transpose(1, 2)
    for i, own in enumerate(torch.split(some, 10)):
        assert all(bool((patches[i] == row).all(1).any()) for row in own)
    assert torch.equal(some, columns(layer, x, 50)[0])


@pytest.mark.parametrize("block", [0, 1, 18, 27, 1000])
def test_blocks_are_whole_channels_and_put_together_again(block: int) -> None:
    """6 channels of 9 places in 2 groups: as many blocks per group as channels at most."""
    module = nn.Sequential(nn.Conv2d(12, 4, 3, groups=2))
    about = layer_of(module, "0.weight", block)
    laid = matrix(dict(module.named_parameters()), about)
    made = blocks(about, laid)
    count = {0: 1, 1: 6, 18: 3, 27: 2, 1000: 1}[block]
    assert [tuple(piece.shape) for piece in made] == [(2, 54 // count + 1)] * 2 * count
    assert torch.equal(whole(about, made, laid), laid)
    moved = whole(about, [piece + 1 for piece in made], laid)
    torch.testing.assert_close(moved[..., :-1], laid[..., :-1] + 1)
    torch.testing.assert_close(moved[..., -1], laid[..., -1] + count)


def test_blocks_that_have_nothing_to_do_with_each_other_are_the_whole() -> None:
    """Inputs 0 to 2 and 3 to 5 are correlated among themselves and with no other."""
    torch.manual_seed(0)
    z = torch.randn(80, 6, dtype=torch.float64)
    q = torch.linalg.qr(z - z.mean(0))[0]
    mixed = [part @ torch.randn(3, 3, dtype=torch.float64) for part in (q[:, :3], q[:, 3:])]
    x = torch.cat([*mixed, torch.ones(80, 1, dtype=torch.float64)], 1)[None]
    module = nn.Sequential(nn.Linear(6, 4)).double()
    params = {name: p.detach() for name, p in module.named_parameters()}
    found = {}
    for block in (0, 3):
        about = layer_of(module, "0.weight", block)
        laid, kept = matrix(params, about), torch.ones(1, 4, 7, dtype=torch.bool)
        kept[0, :, [0, 4]] = False
        curvatures = []
        for piece in blocks(about, x):
            total = Direct(1e-9)
            total.add(piece)
            curvatures.append(total.done())
        each = list(zip(curvatures, blocks(about, laid), blocks(about, kept), strict=True))
        found[block] = [
            whole(about, [f(*one) for one in each], laid)[..., :-1] for f in (importance, compensated)
        ]
        assert len(curvatures) == (2 if block else 1)
    for one, other in zip(found[0], found[3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
