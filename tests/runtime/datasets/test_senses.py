"""Spoken digits and movements: archive, folder and packed file hold the same; people and runs stay apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regrow.datasets import prepare
from regrow.datasets.table import Table
from regrow.episodes import GroupSource, Source, open_source, sample
from regrow.errors import SampleError
from tests.runtime.datasets import official

Members = dict[str, bytes]


def _groups(spec: str, **args: object) -> GroupSource:
    source: Source = open_source(spec, **args)
    assert isinstance(source, GroupSource)
    return source


def _same(tables: list[Table]) -> None:
    first = tables[0]
    for other in tables[1:]:
        assert (first.x == other.x).all()
        assert first.names == other.names
        assert first.scale == other.scale
        assert {k: v.tolist() for k, v in first.columns.items()} == {
            k: v.tolist() for k, v in other.columns.items()
        }


@pytest.mark.parametrize(
    ("name", "members", "repository", "packed", "pack"),
    [
        ("fsdd", official.digits(), "free-spoken-digit-dataset", "fsdd_8k.npz", official.digits_packed),
        ("sp_sw_har", official.rounds(), "sp-sw-har-dataset", "sp_sw_har.npz", official.rounds_packed),
    ],
)
def test_archive_folder_and_packed_file_hold_the_same(
    data: Path,
    name: str,
    members: Members,
    repository: str,
    packed: str,
    pack: Callable[[Path, Members], None],
) -> None:
    tables = []
    pack(data / packed, members)
    tables.append(prepare.load(name))
    official.unpacked(data / repository, members)
    tables.append(prepare.load(name))
    official.zipped(data / f"{repository}.zip", {f"{repository}-1.0/{n}": c for n, c in members.items()})
    tables.append(prepare.load(name))
    _same(tables)
    archive = data / f"{repository}.zip"
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(SampleError, match=rf"{archive.name}: cannot be read .*again"):
        prepare.load(name)


def test_a_digit_is_seen_at_its_pitch_by_whomever_it_is_spoken(data: Path) -> None:
    official.unpacked(data / "free-spoken-digit-dataset", official.digits())
    source = _groups("fsdd:")
    assert (source.groups, tuple(source.classes)) == (official.SPEAKERS, tuple("0123456789"))
    assert source.sample_shape == (1, 50, 40)
    pitch = []
    for digit in range(10):
        x = np.concatenate([source.group(g).take(digit, np.arange(2)) for g in range(6)])[:, 0]
        assert (x.min(), x.max()) == (-1, 1)
        band = x.mean(1).argmax(1)
        assert len(set(band.tolist())) == 1  # however long and loud
        pitch.append(int(band[0]))
    assert pitch == sorted(set(pitch))


def test_bands_may_be_the_channels_of_a_signal(data: Path) -> None:
    official.unpacked(data / "free-spoken-digit-dataset", official.digits())
    picture, signal = _groups("fsdd:"), _groups("fsdd:", layout="signal")
    assert signal.sample_shape == (40, 50)
    (a, b) = (source.group(2).take(4, np.arange(2)) for source in (picture, signal))
    assert (a[:, 0].swapaxes(1, 2) == b).all()
    with pytest.raises(SampleError, match="layout is 'song', expected picture or signal"):
        open_source("fsdd:", layout="song")


def test_speakers_are_split_and_left_out(data: Path) -> None:
    official.unpacked(data / "free-spoken-digit-dataset", official.digits())
    parts = [set(_groups(f"fsdd:{part}").groups) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [4, 1, 1]
    assert set.union(*parts) == set(official.SPEAKERS)
    assert _groups("fsdd:", only=["theo"]).groups == ("theo",)
    assert _groups("fsdd:", without=["theo"]).groups == tuple(s for s in official.SPEAKERS if s != "theo")
    with pytest.raises(SampleError, match="source 'fsdd:': no user 'ana', expected some of george, jackson"):
        open_source("fsdd:", without=["ana"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("seven.wav", official.wav(np.zeros(9, np.int16), 8000), "expected a name like 7_jackson_32.wav"),
        ("1_ana_0.wav", official.wav(np.zeros(9, np.int16), 16000), "1 channels at 16000 Hz, expected one"),
        ("1_ana_0.wav", b"RIFF", "1_ana_0.wav: no WAV file"),
    ],
)
def test_what_is_no_recording_of_a_digit_is_named(data: Path, name: str, content: bytes, says: str) -> None:
    official.unpacked(data / "free-spoken-digit-dataset", {f"recordings/{name}": content})
    with pytest.raises(SampleError, match=says):
        open_source("fsdd:")


def test_files_that_lack_a_speaker_of_the_split_say_whom(data: Path) -> None:
    some = {name: content for name, content in official.digits().items() if "theo" not in name}
    official.unpacked(data / "free-spoken-digit-dataset", some)
    with pytest.raises(SampleError, match="no 'theo' in the files"):
        open_source("fsdd:train")


def test_windows_are_of_what_fills_half_of_them(data: Path) -> None:
    official.unpacked(data / "sp-sw-har-dataset", official.rounds())
    source = _groups("sp_sw_har:")
    assert source.groups == ("subject 01", "subject 02")
    assert tuple(source.classes)[1] == "standing up"
    assert source.sample_shape == (6, 100)
    for c in range(5):
        x = source.group(1).take(c, np.arange(source.group(1).samples(c))) * 4096
        assert set((x[:, 0] / 512).ravel().tolist()) == {2.0}
        assert ((x[:, 2] / 512 == c).mean(1) >= 0.5).all()
    # Three runs of 750 samples make 66 windows each, on either device.
    assert sum(source.samples(c) for c in range(5)) == 2 * 3 * 66


def test_phone_and_watch_are_devices_of_their_own(data: Path) -> None:
    official.unpacked(data / "sp-sw-har-dataset", official.rounds())
    both = _groups("sp_sw_har:", device="both", only=["subject 02"])
    assert both.groups == ("subject 02 phone", "subject 02 watch")
    for g, device in enumerate(("phone", "watch")):
        alone = _groups("sp_sw_har:", device=device).group(1)
        x = both.group(g).take(3, np.arange(4))
        assert (x == alone.take(3, np.arange(4))).all()
        assert (x[:, 3] * 4096 / 1024 == g / 2).all()
    with pytest.raises(SampleError, match="no device 'ring', expected phone, watch or both"):
        open_source("sp_sw_har:", device="ring")


def test_a_run_stands_on_one_side_of_an_episode(data: Path) -> None:
    official.unpacked(data / "sp-sw-har-dataset", official.rounds())
    source = _groups("sp_sw_har:")
    for index in range(20):
        e = sample(source, 5, 2, 4, 0, index)
        for label in range(5):
            runs = [set((x[y == label][:, 1] * 8).ravel().tolist()) for x, y in
                    ((e.support_x, e.support_y), (e.query_x, e.query_y))]  # fmt: skip
            assert len(runs[0]) == 1
            assert not runs[0] & runs[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"x_acc", b"acc_x"), r"s01_01_sp.csv: columns 'acc_x,.*expected x_acc"),
        ((b"WALKING", b"FLYING"), r"s01_01_sp.csv: a line is no sample"),
        ((b",SEATED", b""), r"s01_01_sp.csv: a line is no sample"),
    ],
)
def test_a_table_of_another_kind_is_named(data: Path, change: tuple[bytes, bytes], says: str) -> None:
    name, content = next((n, c) for n, c in official.rounds().items() if n.endswith("sp.csv"))
    official.unpacked(data / "sp-sw-har-dataset", {name: content.replace(*change)})
    with pytest.raises(SampleError, match=says):
        open_source("sp_sw_har:")


@pytest.mark.parametrize("name", ["fsdd", "sp_sw_har"])
def test_a_repository_without_recordings_says_what_was_expected(data: Path, name: str) -> None:
    for repository in ("free-spoken-digit-dataset", "sp-sw-har-dataset"):
        official.zipped(data / f"{repository}.zip", {"README.md": b""})
    with pytest.raises(SampleError, match="holds no recordings, expected names like"):
        open_source(f"{name}:")
