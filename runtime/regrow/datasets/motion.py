"""SP-SW-HAR: what a phone and a watch felt while somebody walked a round, in windows of a second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrow.datasets import tree
from regrow.datasets.codecs import summed16
from regrow.datasets.table import Table
from regrow.errors import SampleError

Array = NDArray[Any]
DEVICES = ("phone", "watch")
ACTIVITIES = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
WINDOW, HOP = 100, 10  # samples of about 10 ms
# What one step of the stored 16 bits is: 1/512 m/s2 of the three accelerations, 1/1024 rad/s of the turns.
STEPS = np.array([512, 512, 512, 1024, 1024, 1024])
# A value of one is then 8 m/s2, or 4 rad/s: both are near what walking does.
_SCALE = 1 / 4096
_NAME = re.compile(r"s(\d\d)_(\d\d)_(sp|sw)\.csv")  # subject, execution, phone or watch
_COLUMNS = ["x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro", "timestamp", "label"]


class Recording(NamedTuple):
    """One round with one device. signal: (6, samples) int16; activity: one per sample."""

    subject: int
    device: int
    execution: int
    signal: Array
    activity: Array


def read(paths: Mapping[str, Path]) -> Table:
    """`DATA/s01/s01_01_sp.csv`, ... of the repository, unpacked or not."""
    root = next(iter(paths.values()))
    recordings = []
    for path, content in tree.members(root, ".csv"):
        if match := _NAME.fullmatch(path.name):  # beside them lie tables about people and rounds
            signal, activity = _csv(content, f"{root}: {path}")
            device = ("sp", "sw").index(match[3])
            recordings.append(Recording(int(match[1]), device, int(match[2]), signal, activity))
    if not recordings:
        raise SampleError(f"{root}: holds no recordings, expected names like s01_01_sp.csv")
    return _table(recordings)


def _csv(content: bytes, place: str) -> tuple[Array, Array]:
    head, *lines = content.decode("utf-8", "replace").split()
    if head.split(",") != _COLUMNS:
        raise SampleError(f"{place}: columns {head!r}, expected {','.join(_COLUMNS)}")
    cells = [line.split(",") for line in lines]
    try:
        values = np.array([row[:6] for row in cells], np.float64)
        activity = np.array([ACTIVITIES.index(row[7]) for row in cells])
    except (ValueError, IndexError) as error:
        raise SampleError(f"{place}: a line is no sample ({error}); fetch the file again") from error
    return np.rint(values.T * STEPS[:, None]).clip(-(2**15), 2**15 - 1).astype(np.int16), activity


def read_packed(paths: Mapping[str, Path]) -> Table:
    """All recordings behind one another, as running sums."""
    with np.load(next(iter(paths.values())), allow_pickle=False) as a:
        signal = summed16(a["delta_lo"], a["delta_hi"])
        activity = np.array([ACTIVITIES.index(str(name)) for name in a["activities"]])[a["label"]]
        spans = pairwise(int(offset) for offset in a["offsets"])
        facts = zip(a["subject"], a["is_watch"], a["execution"], spans, strict=True)
        return _table(
            Recording(int(subject), int(watch), int(execution), signal[:, start:stop], activity[start:stop])
            for subject, watch, execution, (start, stop) in facts
        )


def _table(recordings: Iterable[Recording]) -> Table:
    """Windows that overlap within a run; a run is one round, felt by both devices."""
    ordered = sorted(recordings, key=lambda r: (r.subject, r.device, r.execution))
    subjects = sorted({r.subject for r in ordered})
    runs = sorted({(r.subject, r.execution) for r in ordered})
    x, rows = [], []
    for r in ordered:
        user, run = subjects.index(r.subject), runs.index((r.subject, r.execution))
        for at in range(0, r.signal.shape[1] - WINDOW + 1, HOP):
            counts = np.bincount(r.activity[at : at + WINDOW], minlength=len(ACTIVITIES))
            # People do not halt between activities: a window is of what fills at least half of it.
            if 2 * counts.max() >= WINDOW:
                x.append(r.signal[:, at : at + WINDOW])
                rows.append((int(counts.argmax()), user, r.device, run))
    columns = dict(zip(("class", "user", "device", "run"), np.array(rows, np.int64).T, strict=True))
    names = {
        "class": tuple(name.lower().replace("_", " ") for name in ACTIVITIES),
        "user": tuple(f"subject {number:02d}" for number in subjects),
        "device": DEVICES,
    }
    return Table(np.stack(x), columns, names, _SCALE)
