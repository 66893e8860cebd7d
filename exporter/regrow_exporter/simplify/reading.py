"""What a layer needs of its input, where some channels are constants, and where their share of it goes.

Without a border of zeros a constant adds the same everywhere, which the bias can hold. With one, constants
can at least share a channel: they are multiples of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regrow.program import Op
from regrow.values import Mask
from regrow_exporter.simplify.known import Known, borders, layer_axis
from regrow_exporter.simplify.net import Floats, Net, bias_of


@dataclass(frozen=True, eq=False)
class Reading:
    """Which input channels a layer needs; what those it can do without hold, zero where that is nothing."""

    needed: Mask
    constants: Floats
    stand_in: int | None  # the channel that stands for all constants; None: the bias does


def reading(net: Net, known: Mapping[str, Known], op: Op) -> Reading:
    """Of a layer without groups."""
    x, weight = op.inputs[:2]
    zero = net.zero(weight)
    used: Mask = np.logical_not(zero.all((0, *range(2, zero.ndim))))
    found = known.get(x)
    if found is None or found.axis != layer_axis(op, len(net.values[x].shape)):
        return Reading(used, np.zeros(used.shape), None)
    constants = np.where(np.isfinite(found.constants), found.constants, 0.0)
    silent = found.constants == 0
    if weight not in net.tensors or not constants.any():
        return Reading(used & ~silent, np.zeros(used.shape), None)
    needed = used & ~np.isfinite(found.constants)
    if not borders(op) and all(name in net.tensors for name in op.inputs[2:]):
        return Reading(needed, constants, None)
    # The largest, so that the others are fractions of it; whether used or not, as then all readers agree.
    stand_in = int(np.abs(constants).argmax())
    needed[stand_in] = (used & (constants != 0)).any()
    return Reading(needed, constants, stand_in)


def moved(net: Net, op: Op, found: Reading, cut: Mask) -> tuple[str, ...] | None:
    """The layer's tensors once these input channels are cut off; None where nothing is lost by it."""
    weight, bias = op.inputs[1], "".join(op.inputs[2:])
    constants = np.where(cut & ~found.needed, found.constants, 0.0)
    if not constants.any():
        return None
    w = net.tensors[weight]
    if found.stand_in is None:
        shift = w.sum(tuple(range(2, w.ndim))) @ constants
        whole = shift + net.tensors[bias] if bias else shift
        return weight, net.put(bias, whole, bias_of(weight))
    w = w.copy()
    w[:, found.stand_in] += np.tensordot(w, constants / found.constants[found.stand_in], axes=([1], [0]))
    return net.put(weight, w, f"{weight}.folded"), *op.inputs[2:]
