"""The Free Spoken Digit Dataset as log-mel pictures, from its WAV files or packed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import sound
from regrow.datasets import tree
from regrow.datasets.codecs import summed16
from regrow.datasets.table import Table
from regrow.errors import SampleError

RATE = 8000
FRAMES, BANDS = 50, 40  # a second in steps of 20 ms, as of DSPSpeech-20
_STEPS = 3  # per decibel: what 8 bits have room for
_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")  # digit, speaker, take

Clip = tuple[int, str, int, NDArray[Any]]


def read(paths: Mapping[str, Path]) -> Table:
    """`recordings/7_jackson_32.wav`, ... of the repository, unpacked or not."""
    root = next(iter(paths.values()))
    clips: list[Clip] = []
    for path, content in tree.members(root, ".wav"):
        if path.parent.name not in ("", "recordings"):  # the repository's tools may have samples of their own
            continue
        place = f"{root}: {path}"
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise SampleError(f"{place}: expected a name like 7_jackson_32.wav; move it away")
        rate, samples = sound.pcm(content, place)
        if rate != RATE or len(samples) != 1:
            raise SampleError(f"{place}: {len(samples)} channels at {rate} Hz, expected one at {RATE} Hz")
        clips.append((int(match[1]), match[2], int(match[3]), samples[0]))
    if not clips:
        raise SampleError(f"{root}: holds no recordings, expected names like 7_jackson_32.wav")
    return _table(clips)


def read_packed(paths: Mapping[str, Path]) -> Table:
    """All clips behind one another, as running sums."""
    with np.load(next(iter(paths.values())), allow_pickle=False) as a:
        signal = summed16(a["delta_lo"], a["delta_hi"])
        speakers = [str(name) for name in a["speakers"]]
        spans = pairwise(int(offset) for offset in a["offsets"])
        labels = zip(a["digit"], a["speaker"], a["take"], strict=True)
        return _table(
            (int(digit), speakers[speaker], int(take), signal[start:stop] / 2.0**15)
            for (digit, speaker, take), (start, stop) in zip(labels, spans, strict=True)
        )


def _table(clips: Iterable[Clip]) -> Table:
    """In the order of digits, speakers and takes, whatever order they were found in."""
    ordered = sorted(clips, key=lambda clip: clip[:3])
    pictures = np.stack([sound.log_mel(samples, RATE, FRAMES, BANDS) for *_, samples in ordered])
    # Centred between the loudest and silence, so that a value of one is half the range above the middle.
    x = np.rint((pictures + sound.RANGE / 2) * _STEPS).astype(np.int8)[:, None]
    speakers = sorted({speaker for _, speaker, _, _ in ordered})
    columns = {
        "class": np.array([digit for digit, *_ in ordered], np.int64),
        "user": np.array([speakers.index(speaker) for _, speaker, _, _ in ordered], np.int64),
        "take": np.array([take for _, _, take, _ in ordered], np.int64),
    }
    names = {"class": tuple(str(digit) for digit in range(10)), "user": tuple(speakers)}
    return Table(x, columns, names, 2 / (sound.RANGE * _STEPS))
