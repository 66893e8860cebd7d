"""Small random networks from the op set, for hypothesis: every draw is a network that torch itself runs."""

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = ["relu", "leaky_relu", "tanh", "sigmoid", "silu", "hardswish", "gelu", "elu"]
RULES = {"sgd": 0.05, "momentum": 0.05, "adam": 0.01}
SETS = [["*"], ["@head"], ["@last:2"], ["@norm+bias"], ["@head", "body.0.*"], ["@head[0,2]", "@norm+bias"]]


class Residual(nn.Module):
    """A layer of the same shape, added to its input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Concat(nn.Module):
    """A layer beside its input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([x, self.inner(x)], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Act(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.function = getattr(F, kind) if hasattr(F, kind) else getattr(torch, kind)

    def forward(self, x):
        return self.function(x)


class Network(nn.Module):
    def __init__(self, body, x, flat):
        super().__init__()
        self.body, self.flat = nn.Sequential(*body), flat
        with torch.no_grad():
            width = self.features(x).shape[1]
        self.head = nn.Linear(width, 3)

    def features(self, x):
        x = self.body(x)
        return x.flatten(1) if self.flat else x.mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


def conv(draw, channels, out=None, same=False):
    """Plain, grouped, depthwise, dilated or strided."""
    kernel, dilation = draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))
    stride = 1 if same else draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, channels] + ([2] if channels % 2 == 0 else [])))
    out = out or groups * draw(st.integers(1, 1 if groups > 2 else 3))
    groups = groups if out % groups == 0 else 1
    bias, padding = draw(st.booleans()), dilation * (kernel // 2)
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias), out


def norm(draw, channels):
    kind = draw(st.sampled_from(["batch", "tracked", "frozen", "group", "layer", "instance"]))
    if kind in ("batch", "tracked", "frozen"):
        made = nn.BatchNorm2d(channels, track_running_stats=kind != "batch")
        return made.eval() if kind == "frozen" else made
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm(1 if kind == "layer" or channels % 2 else 2, channels)


def pool(draw, size):
    kernel = draw(st.integers(2, 3))
    stride = draw(st.integers(1, kernel))
    if size < kernel + 1:
        return None
    return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(kernel, stride, kernel // 2)


@st.composite
def networks(draw):
    """(module in training mode, input shape)."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    channels, size = draw(st.integers(1, 2)), draw(st.integers(5, 8))
    x = torch.randn(6, channels, size, size)
    first, width = conv(draw, channels)
    body = [first]
    for _ in range(draw(st.integers(1, 4))):
        with torch.no_grad():
            now = nn.Sequential(*body)(x).shape[2]
        kind = draw(st.sampled_from(["conv", "norm", "act", "pool", "residual", "concat", "excite"]))
        layer = None
        if kind == "conv" and now > 2:
            layer, width = conv(draw, width)
        elif kind == "norm" and now > 1:
            layer = norm(draw, width)
        elif kind == "pool":
            layer = pool(draw, now)
        elif kind == "residual":
            layer = Residual(conv(draw, width, width, same=True)[0])
        elif kind == "concat" and width < 6:
            side, more = conv(draw, width, same=True)
            layer, width = Concat(side), width + more
        elif kind == "excite":
            layer = SqueezeExcite(width)
        body.append(layer or Act(draw(st.sampled_from(ACTIVATIONS))))
    module = Network(body, x, draw(st.booleans()))
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return module, tuple(x.shape[1:])
