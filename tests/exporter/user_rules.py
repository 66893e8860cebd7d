"""Rules as users would write them: plain torch over dicts of tensors, nothing of the exporter in sight."""

import torch
import torch.nn.functional as F

from regrow_trainer.rules import MetricRule, Rule

STEPS = 4


def rate_per_parameter():
    """Every weight has a rate of its own (Meta-SGD)."""

    def meta(params):
        return {f"rate.{n}": 0.2 * torch.rand_like(p) for n, p in params.items()}

    def update(meta, params, grads, state, step):
        return {n: p - meta[f"rate.{n}"] * grads[n] for n, p in params.items()}, state

    return Rule(meta, lambda meta, params: {}, update)


def rate_per_step_and_row():
    """A rate per step and per row of a tensor, looked up by the step; later steps use the last."""

    def meta(params):
        return {f"rates.{n}": 0.2 * torch.rand(STEPS, p.shape[0]) for n, p in params.items()}

    def update(meta, params, grads, state, step):
        row = step.clamp(max=STEPS - 1).reshape(1)
        new = {}
        for n, p in params.items():
            rate = torch.index_select(meta[f"rates.{n}"], 0, row)[0]
            new[n] = p - rate.reshape(-1, *[1] * (p.ndim - 1)) * grads[n]
        return new, state

    return Rule(meta, lambda meta, params: {}, update)


def gradient_skip(every=2):
    """Every few steps the weights are mixed with those of the last time, which travel as state (PAMELA)."""

    def meta(params):
        return {"lr": torch.tensor(0.1), "share": torch.tensor([0.3, 0.2])}

    def init(meta, params):
        return {f"kept.{n}": torch.zeros_like(p) for n, p in params.items()}

    def update(meta, params, grads, state, step):
        due = (step + 1) % every == 0
        which = torch.clamp((step + 1) // every - 1, 0, 1)
        share = torch.gather(meta["share"], 0, which.reshape(1))
        new, kept = {}, {}
        for n, p in params.items():
            old = torch.where(step == 0, p, state[f"kept.{n}"])
            moved = p - meta["lr"] * grads[n]
            new[n] = torch.where(due, torch.lerp(moved, old, share), moved)
            kept[f"kept.{n}"] = torch.where(due, new[n], old)
        return new, kept

    return Rule(meta, init, update)


def task_mask(hidden=5):
    """A small network sees the mean weight and gradient of every tensor, and says which may move (BMP)."""

    def meta(params):
        made = {"w1": torch.randn(hidden, 2 * len(params)), "b1": torch.randn(hidden)}
        return made | {
            "w2": torch.randn(len(params), hidden),
            "b2": torch.tensor([0.7, -0.7] * 8)[: len(params)],
        }

    def update(meta, params, grads, state, step):
        seen = torch.stack([t.mean() for n, p in params.items() for t in (p, grads[n])])
        layer = torch.relu(meta["w1"] @ seen + meta["b1"])
        votes = F.linear(layer, meta["w2"], meta["b2"])
        new = {}
        for i, (n, p) in enumerate(params.items()):
            new[n] = torch.where(votes[i] > 0, p - 0.1 * grads[n], p)
        return new, state

    return Rule(meta, lambda meta, params: {}, update)


def learned_rate(width=3):
    """An LSTM reads each weight's gradient and value and sets its rate; its memory travels as state."""

    def meta(params):
        made = {"into": torch.randn(4 * width, 2), "again": torch.randn(4 * width, width)}
        return made | {
            "bias": torch.randn(4 * width),
            "out": torch.randn(width, 1),
            "base": torch.tensor(0.05),
        }

    def init(meta, params):
        parts = ("memory", "cell")
        return {f"{part}.{n}": torch.zeros(p.numel(), width) for n, p in params.items() for part in parts}

    def update(meta, params, grads, state, step):
        new, carried = {}, {}
        for n, p in params.items():
            h, c = state[f"memory.{n}"], state[f"cell.{n}"]
            x = torch.stack([grads[n].reshape(-1), p.reshape(-1)], 1)
            i, f, u, o = torch.chunk(x @ meta["into"].t() + h @ meta["again"].T + meta["bias"], 4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
            rate = torch.relu(meta["base"] + 0.1 * torch.tanh(h @ meta["out"]))
            new[n] = p - rate.reshape(p.shape) * grads[n]
            carried |= {f"memory.{n}": h, f"cell.{n}": c}
        return new, carried

    return Rule(meta, init, update)


def calendar():
    """Whole numbers and truth values decide the rate, and a row of a table is picked by comparing."""

    def meta(params):
        return {"table": torch.tensor([0.05, 0.1, 0.15, 0.2])}

    def update(meta, params, grads, state, step):
        late, odd = step >= 3, step % 2 == 1
        row = (torch.arange(4) == torch.minimum(step, torch.tensor(3))).float()
        rate = (row * meta["table"]).sum() + torch.where(late & ~odd, 0.01, 0.0)
        rate = rate * torch.where(odd | (step < 1), 1, 2) / (1 + step // 2)
        rate = rate + 0.01 * (late != odd).float() + 0.02 * torch.full((), 0.5) ** step
        return {n: p - rate * g for (n, p), g in zip(params.items(), grads.values(), strict=True)}, state

    return Rule(meta, lambda meta, params: {}, update)


def clipped():
    """The gradient as a whole is bounded, and the bound shrinks from step to step."""

    def meta(params):
        return {"lr": torch.tensor(0.2)}

    def update(meta, params, grads, state, step):
        whole = torch.sqrt(sum((g * g).sum() for g in grads.values()))
        bound = 0.5 * torch.tensor(0.8) ** step.float()
        scale = torch.minimum(bound / torch.linalg.vector_norm(whole), torch.ones(()))
        return {n: p - meta["lr"] * scale * grads[n] for n, p in params.items()}, state

    return Rule(meta, lambda meta, params: {}, update)


def nearest_by_spread():
    """A metric head of one's own: distances count in units of each feature's spread over all samples."""

    def init(ways, width):
        return {
            "sums": torch.zeros(ways, width),
            "counts": torch.zeros(ways, 1),
            "squares": torch.zeros(width),
        }

    def fit(params, features, hot):
        return {
            "sums": params["sums"] + hot.T @ features,
            "counts": params["counts"] + hot.sum(0)[:, None],
            "squares": params["squares"] + (features * features).sum(0),
        }

    def score(params, features):
        total = params["counts"].sum().clamp(min=1.0)
        mean = params["sums"].sum(0) / total
        spread = params["squares"] / total - mean * mean + 0.1
        means = params["sums"] / params["counts"].clamp(min=1.0)
        gap = features[:, None] - means
        return -(gap * gap / spread).sum(2)

    return MetricRule(init, fit, score)


def primed():
    """A metric head that starts from values which no smaller precision holds."""

    def init(ways, width):
        return {"sums": torch.full((ways, width), 0.1), "counts": torch.full((ways,), 1 / 3)}

    def fit(params, features, hot):
        return {"sums": params["sums"] + hot.T @ features, "counts": params["counts"] + hot.sum(0)}

    def score(params, features):
        means = params["sums"] / params["counts"][:, None]
        return 2 * features @ means.T - (means * means).sum(1)

    return MetricRule(init, fit, score)


def sorting():
    """A metric head that no program can hold."""

    def fit(params, features, hot):
        return {"sums": params["sums"] + (hot.T @ features).sort(0)[0]}

    return MetricRule(
        lambda ways, width: {"sums": torch.zeros(ways, width)},
        fit,
        lambda params, features: features @ params["sums"].T,
    )


def unsupported():
    """Steps by a coin's toss, which no device repeats."""

    def update(meta, params, grads, state, step):
        return {n: p - torch.bernoulli(p.sigmoid()) * grads[n] for n, p in params.items()}, state

    return Rule(lambda params: {}, lambda meta, params: {}, update)
