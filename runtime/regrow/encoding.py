"""Pack one float32 tensor into the fewest bytes: dense, bitmask + values, or Rice-coded gaps + values.

Kept positions survive exactly and their values as `regrow.values.rounded` says; a kept zero stays kept.
`decode` believes nothing that a stream says about itself. Byte layouts are in docs/bundle.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regrow import values as stored
from regrow.fields import Words, fail
from regrow.values import SCALES, Array, Floats, Mask, Values

Kind = Literal["dense", "bitmask", "rice"]

KINDS: tuple[Kind, ...] = ("dense", "bitmask", "rice")
# The parts of each kind, values first; "" is the tensor under the parameter's own name. int8 adds scales.
PARTS: dict[Kind, tuple[str, ...]] = {
    "dense": ("",),
    "bitmask": ("values", "bits"),
    "rice": ("values", "gaps"),
}
# A few bytes of gaps can claim any size, so what a sparse tensor may unfold to is bounded (1 GiB of fp32).
MAX_SPARSE = 2**28
_MAX_K = 28


@dataclass(frozen=True, eq=False)
class Encoded:
    """The chosen kind and its parts, keyed as in `PARTS`."""

    kind: Kind
    parts: dict[str, Array]

    @property
    def nbytes(self) -> int:
        """Stored bytes of all parts."""
        return sum(part.nbytes for part in self.parts.values())


def part_name(tensor: str, part: str) -> str:
    """The stored name of one part of a tensor."""
    return f"{tensor}.{part}" if part else tensor


def parts_of(kind: Kind, values: Values) -> tuple[str, ...]:
    """The parts of a tensor, values first."""
    return (*PARTS[kind], SCALES) if values == "int8" else PARTS[kind]


def encode(w: Floats, kept: Mask | None, values: Values = "fp32") -> Encoded:
    """The smallest encoding that `decode` gives back, mask included; dense where nothing is dropped."""
    if w.dtype != np.float32:
        raise fail("encode", Words(str(w.dtype)), "float32", "convert the weights first")
    if kept is None or bool(kept.all()):
        return Encoded("dense", stored.narrow(w, None, values))
    if kept.shape != w.shape:
        raise fail("encode: mask", Words(str(kept.shape)), f"{w.shape}", "give a mask of the tensor's shape")
    dropped = int(np.count_nonzero(w[~kept]))
    if dropped:
        raise fail(
            "encode", Words(f"{dropped} pruned values that are not zero"), "zeros", "apply the mask first"
        )
    parts = stored.narrow(w, kept, values)
    sparse = encode_sparse(parts.pop(""), kept)
    return Encoded(sparse.kind, sparse.parts | parts)


def encode_sparse(values: Array, kept: Mask) -> Encoded:
    """Bitmask or Rice, whichever is smaller, for the given values at the kept positions (C order)."""
    if kept.size > MAX_SPARSE:
        raise fail("encode", Words(f"{kept.size} elements"), f"at most {MAX_SPARSE}", "store it dense")
    bits = np.packbits(kept, axis=None, bitorder="little")
    gaps = rice_encode(np.flatnonzero(kept))
    if gaps.nbytes < bits.nbytes:
        return Encoded("rice", {"values": values, "gaps": gaps})
    return Encoded("bitmask", {"values": values, "bits": bits})


def decode(
    kind: Kind, parts: Mapping[str, Array], shape: tuple[int, ...], place: str = "tensor"
) -> tuple[Floats, Mask | None]:
    """The weights (a view where dense fp32) and, for sparse kinds, the kept mask; both read-only."""
    scales = parts.get(SCALES)
    if kind == "dense":
        _check_values(parts[""], shape, place)
        stored.check(parts[""], scales, shape[:1], place)
        return _frozen(stored.widen(parts[""], scales)), None
    kept = decode_mask(kind, parts, shape, place)
    stored.check(parts["values"], scales, shape[:1], place)
    w = np.zeros(shape, np.float32)
    w[kept] = stored.widen(parts["values"], scales, kept)
    return _frozen(w), kept


def decode_mask(
    kind: Kind, parts: Mapping[str, Array], shape: tuple[int, ...], place: str = "tensor"
) -> Mask:
    """The kept positions of a sparse kind, checked against the number of values."""
    size = math.prod(shape)
    if size > MAX_SPARSE:
        raise fail(f"{place}.shape", Words(f"{size} elements"), f"at most {MAX_SPARSE} in a sparse tensor")
    values, stream = parts["values"], parts[PARTS[kind][1]]
    if values.ndim != 1 or values.size > size:
        raise fail(
            f"{place}.values", Words(f"shape {values.shape}"), f"at most {size} values in one dimension"
        )
    _check_values(values, values.shape, f"{place}.values")
    if stream.dtype != np.uint8 or stream.ndim != 1:
        found = Words(f"{stream.dtype}{list(stream.shape)}")
        raise fail(f"{place}.{PARTS[kind][1]}", found, "one dimension of bytes")
    unpack = _unpack_bits if kind == "bitmask" else _unpack_rice
    return _frozen(unpack(stream, values.size, size, place).reshape(shape))


def _check_values(values: Array, shape: tuple[int, ...], place: str) -> None:
    if values.dtype not in stored.VALUES.values() or values.shape != shape:
        found = Words(f"{values.dtype}{list(values.shape)}")
        raise fail(place, found, f"float32, float16 or int8 of shape {list(shape)}")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()  # the caller's own array stays as writable as it was
    view.flags.writeable = False
    return view


def _unpack_bits(stream: NDArray[np.uint8], count: int, size: int, place: str) -> Mask:
    place = f"{place}.bits"
    if stream.size != -(-size // 8):
        raise fail(place, Words(f"{stream.size} bytes"), f"{-(-size // 8)} for {size} positions")
    bits = np.unpackbits(stream, bitorder="little")
    if bits[size:].any():
        raise fail(place, Words("a bit past the end"), "zero padding")
    found = int(np.count_nonzero(bits))
    if found != count:
        raise fail(place, Words(f"{found} set bits"), f"{count}, the number of values")
    return bits[:size].view(np.bool_)


def rice_encode(positions: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Ascending positions as one byte k, then all low parts (k bits each), then all high parts in unary."""
    if not positions.size:
        return np.zeros(1, np.uint8)
    gaps = np.diff(positions, prepend=-1) - 1
    k = min(range(_MAX_K + 1), key=lambda k: int((gaps >> k).sum()) + k * gaps.size)
    low = np.empty((gaps.size, k), np.uint8)
    for j in range(k):
        low[:, j] = (gaps >> j) & 1
    ends = np.cumsum((gaps >> k) + 1)
    unary = np.zeros(int(ends[-1]), np.uint8)
    unary[ends - 1] = 1
    packed = [np.packbits(part, axis=None, bitorder="little") for part in (low, unary)]
    return np.concatenate([np.array([k], np.uint8), *packed])


def _unpack_rice(stream: NDArray[np.uint8], count: int, size: int, place: str) -> Mask:
    """Two separate sections keep the decoder free of any per-value loop."""
    place = f"{place}.gaps"
    if not stream.size or stream[0] > _MAX_K:
        raise fail(place, Words(f"k = {stream[:1].tolist()}"), f"a first byte of 0 to {_MAX_K}")
    k = int(stream[0])
    split = 1 + -(-count * k // 8)
    if split > stream.size:
        raise fail(place, Words(f"{stream.size} bytes"), f"at least {split} for {count} values")
    low = np.unpackbits(stream[1:split], bitorder="little")
    unary = np.unpackbits(stream[split:], bitorder="little")
    ends = np.flatnonzero(unary)
    used = int(ends[-1]) + 1 if ends.size else 0
    if ends.size != count or low[count * k :].any() or stream.size != split + -(-used // 8):
        found = Words(f"{ends.size} gaps in {stream.size} bytes")
        raise fail(place, found, f"{count} gaps, zero padding and no byte more")
    high = np.subtract(np.diff(ends, prepend=-1), 1, dtype=np.int64)
    # Bounds each gap before it is shifted, so that a lying stream cannot overflow the sum.
    if high.size and high.max() > size >> k:
        raise fail(place, Words("a gap past the end"), f"positions below {size}")
    gaps = high << k
    for j in range(k):
        gaps |= low[j : count * k : k].astype(np.int64) << j
    positions = np.cumsum(gaps + 1) - 1
    if count and positions[-1] >= size:
        raise fail(place, Words(f"position {positions[-1]}"), f"positions below {size}")
    kept = np.zeros(size, np.bool_)
    kept[positions] = True
    return kept
