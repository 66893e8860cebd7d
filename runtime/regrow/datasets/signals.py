"""Signals with the person, device or time they came from, from packed arrays; the last axis is time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.datasets.codecs import summed16
from regrow.datasets.table import GroupedTable, Table

Array = NDArray[Any]
_WINDOW, _HOP = 128, 64  # samples of one activity window, and from one to the next


def _only(paths: Mapping[str, Path]) -> dict[str, Array]:
    with np.load(next(iter(paths.values())), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _named(prefix: str, numbers: Array) -> tuple[Array, tuple[str, ...]]:
    """Numbers as indices, and the names "prefix 01", ... they stand for."""
    known, indices = np.unique(numbers, return_inverse=True)
    width = len(str(int(known.max())))
    return indices.astype(np.int64), tuple(f"{prefix} {int(n):0{width}d}" for n in known)


def _strings(array: Array) -> tuple[str, ...]:
    return tuple(str(text) for text in array)


def read_myo(paths: Mapping[str, Path]) -> Table:
    """8 electrodes x 400 samples of 8 bits, scaled to -1 .. 1."""
    a = _only(paths)
    columns = {"class": a["gesture"], "user": a["participant"], "session": a["session"], "rep": a["rep"]}
    names = {"class": _strings(a["gestures"]), "user": _strings(a["participant_codes"])}
    return Table(np.ascontiguousarray(a["emg"].transpose(1, 0, 2)), _whole(columns), names, 1 / 128)


def enveloped(source: GroupedTable, width: int) -> GroupedTable:
    """log(1 + mean size), in the steps the signal is stored in, of `width` samples at a time."""
    tables: dict[int, Table] = {}

    def made(table: Table) -> Table:
        if id(table) not in tables:
            size = np.abs(table.x.astype(np.float32)).reshape(*table.x.shape[:-1], -1, width).mean(-1)
            tables[id(table)] = replace(table, x=np.log1p(size), scale=1.0)
        return tables[id(table)]

    return replace(source, sources=tuple(replace(s, table=made(s.table)) for s in source.sources))


def read_speech(paths: Mapping[str, Path]) -> Table:
    """50 frames x 40 bands in steps of a decibel above -20, scaled to about -1 .. 1."""
    a = _only(paths)
    speaker, speakers = _named("speaker", a["speaker"])
    # Centred on 93, the mean over all clips, so that a difference of 64 decibels is one.
    x = (a["logmel"].astype(np.int16) - 93).astype(np.int8)[:, None]
    columns = {"class": a["word"], "user": speaker, "take": a["take"]}
    return Table(x, _whole(columns), {"class": _strings(a["words"]), "user": speakers}, 1 / 64)


def read_har(paths: Mapping[str, Path]) -> Table:
    """9 channels x 128 samples: windows that overlap by half within a bout, in g and radians per second."""
    a = _only(paths)
    signal = summed16(a["delta_lo"], a["delta_hi"])
    windows, bout = [], []
    for number, (start, stop) in enumerate(pairwise(int(offset) for offset in a["offsets"])):
        for at in range(start, stop - _WINDOW + 1, _HOP):
            windows.append(signal[:, at : at + _WINDOW])
            bout.append(number)
    blocks = np.array(bout)
    user, users = _named("user", a["user"])
    columns = {"class": a["activity"][blocks], "user": user[blocks], "bout": blocks}
    names = {"class": tuple(text.lower() for text in _strings(a["activities"])), "user": users}
    return Table(np.stack(windows), _whole(columns), names, 1 / float(a["scale"][0]))


def read_gas(paths: Mapping[str, Path]) -> Table:
    """128 features as signed logarithms: they span seven decades, and drift is a factor."""
    a = _only(paths)
    batch, batches = _named("batch", a["batch"])
    raw = a["x"].T
    x = (np.sign(raw) * np.log1p(np.abs(raw))).astype(np.float32)
    names = {"class": tuple(text.lower() for text in _strings(a["gases"])), "user": batches}
    return Table(x, _whole({"class": a["gas"], "user": batch}), names, 0.1)


def _whole(columns: Mapping[str, Array]) -> dict[str, NDArray[np.int64]]:
    return {name: column.astype(np.int64) for name, column in columns.items()}
