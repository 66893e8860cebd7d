"""Signals as images of height one, so that every one-dimensional op is its two-dimensional sister."""

from collections.abc import Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow_exporter.importer import Arguments, Context, Importer


def pair(value: int | Sequence[int]) -> tuple[int, ...]:
    """One number for both dimensions, or one for each."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * (2 // len(values))


def one_dimensional(importer: Importer, tensors: Sequence[str], neutral: Mapping[str, int]) -> Importer:
    """An importer for signals from one for images.

    `tensors` get a height of one; numbers per dimension get what `neutral` says for the height. An empty list
    stays empty: it means "as the kernel".
    """

    def run(context: Context, a: Arguments) -> str:
        g, lifted = context.graph, dict(a)
        for key in tensors:
            shape = g.shape(a[key])
            if len(shape) != 3:
                raise UnsupportedError("a signal without a batch; give it (samples, channels, length)")
            lifted[key] = g.one("reshape", a[key], shape=(*shape[:-1], 1, shape[-1]))
        for key, value in neutral.items():
            if isinstance(a.get(key), list) and a[key]:
                lifted[key] = [value, *a[key]]
        y = str(importer(context, lifted))
        shape = g.shape(y)
        return g.one("reshape", y, shape=(*shape[:2], shape[3]))

    return run
