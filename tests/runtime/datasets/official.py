"""Small stand-ins in the official layouts."""

from __future__ import annotations

import gzip
import io
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow.datasets import split


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def omniglot_packed(folder: Path, drawings: int = 3) -> None:
    """All 1623 characters, fewer drawings."""
    names = [name for part in split.load("omniglot_vinyals").values() for name in part]
    np.savez(
        folder / "omniglot_28.npz",
        gray4=pixels(len(names) * drawings, 392),
        class_names=np.array(names),
        official_eval=np.arange(len(names)) % 2 == 1,
    )


def omniglot_zips(folder: Path) -> NDArray[np.bool_]:
    """Two characters in each archive, two drawings each: the ink of the very first comes back."""
    image = pytest.importorskip("PIL.Image")
    inks = []
    number = 0
    for archive, alphabet in (("images_background", "Greek"), ("images_evaluation", "Angelic")):
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as out:
            for character in ("character01", "character02"):
                number += 1
                for drawer in (1, 2):
                    ink = pixels(105, 105, seed=10 * number + drawer) > 200
                    stream = io.BytesIO()
                    image.fromarray(~ink).save(stream, "PNG")
                    path = f"{archive}/{alphabet}/{character}/{number:04d}_{drawer:02d}.png"
                    out.writestr(path, stream.getvalue())
                    inks.append(ink)
    return np.stack(inks)


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))


def cifar(folder: Path, per_class: int = 3) -> NDArray[np.uint8]:
    """`per_class` training images and one test image of each class; the training pixels come back."""
    names = sorted(name for part in split.load("cifar_fs").values() for name in part)
    labels = np.repeat(np.arange(100, dtype=np.uint8), per_class)
    x = pixels(len(labels), 3072)
    train = np.column_stack([labels // 5, labels, x])
    test = np.column_stack(
        [np.zeros(100, np.uint8), np.arange(100, dtype=np.uint8), pixels(100, 3072, seed=1)]
    )
    members = {"train.bin": train.tobytes(), "test.bin": test.tobytes()}
    members["fine_label_names.txt"] = ("\n".join(names) + "\n").encode()
    tar(folder / "cifar-100-binary.tar.gz", {f"cifar-100-binary/{n}": c for n, c in members.items()})
    return x.reshape(-1, 3, 32, 32)


def idx(folder: Path) -> NDArray[np.uint8]:
    """Five training and two test images per digit; the training pixels come back."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 50), ("t10k", 20)):
        x, y = pixels(count, 28, 28, seed=count), np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return pixels(50, 28, 28, seed=50)


def stl10(folder: Path) -> NDArray[np.uint8]:
    """Two training images per class and one test image, stored column by column; the former come back."""
    x, y = pixels(20, 3, 96, 96), np.arange(20, dtype=np.uint8) % 10 + 1
    members = {
        "train_X": x.swapaxes(2, 3).tobytes(),
        "train_y": y.tobytes(),
        "test_X": pixels(10, 3, 96, 96, seed=1).tobytes(),
        "test_y": y[:10].tobytes(),
        "unlabeled_X": b"",
    }
    tar(folder / "stl10_binary.tar.gz", {f"stl10_binary/{n}.bin": c for n, c in members.items()})
    return x


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)


def unpacked(folder: Path, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def wav(samples: NDArray[np.int16], rate: int) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def byte_planes(signal: NDArray[np.int16]) -> dict[str, NDArray[np.uint8]]:
    """Differences along time as the packed forms keep them."""
    steps = np.diff(signal.astype(np.int64), axis=-1, prepend=0) & 0xFFFF
    return {"delta_lo": (steps & 255).astype(np.uint8), "delta_hi": (steps >> 8).astype(np.uint8)}


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def digits(takes: int = 2) -> dict[str, bytes]:
    """Every speaker and digit: a tone as high as the digit, of another length and loudness each time."""
    rng = np.random.default_rng(0)
    made = {"README.md": b"", "acquire_data/example.wav": b"no recording of a digit"}
    for speaker in SPEAKERS:
        for digit in range(10):
            for take in range(takes):
                time = np.arange(rng.integers(1500, 12000)) / 8000
                tone = np.sin(2 * np.pi * (300 + 300 * digit) * time) * rng.integers(300, 30000)
                made[f"recordings/{digit}_{speaker}_{take}.wav"] = wav(tone.astype(np.int16), 8000)
    return made


def digits_packed(path: Path, members: dict[str, bytes]) -> None:
    """The same recordings, behind one another."""
    names = sorted(name for name in members if name.startswith("recordings/"))
    parts = [n.removeprefix("recordings/").removesuffix(".wav").split("_") for n in names]
    clips = [np.frombuffer(members[name][44:], "<i2") for name in names]
    np.savez(
        path,
        **byte_planes(np.concatenate(clips)),
        offsets=np.cumsum([0, *map(len, clips)]),
        digit=np.array([int(digit) for digit, _, _ in parts], np.uint8),
        speaker=np.array([SPEAKERS.index(speaker) for _, speaker, _ in parts], np.uint8),
        take=np.array([int(take) for _, _, take in parts], np.uint8),
        speakers=np.array(SPEAKERS),
    )


ACTIVITIES = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")


def rounds(subjects: tuple[int, ...] = (1, 2), runs: int = 3) -> dict[str, bytes]:
    """Each activity for 150 samples: subject, run and activity can be read off three of the values."""
    made = {
        "README.md": b"",
        "DATA/executions_info.csv": b"execution_id,orientation,first_turn,second_turn\n",
    }
    for subject in subjects:
        for run in range(1, runs + 1):
            for number, device in enumerate(("sp", "sw")):
                lines = ["x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"]
                for i in range(150 * len(ACTIVITIES)):
                    values = (subject, run, i // 150, number / 2, i / 1024, -i / 1024)
                    lines.append(",".join(map(str, (*values, 10 * i, ACTIVITIES[i // 150]))))
                made[f"DATA/s{subject:02d}/s{subject:02d}_{run:02d}_{device}.csv"] = "\n".join(lines).encode()
    return made


def rounds_packed(path: Path, members: dict[str, bytes]) -> None:
    """The same recordings, behind one another; the activities stand in another order."""
    names = sorted(name for name in members if name.endswith(("sp.csv", "sw.csv")))
    rows = [[line.split(",") for line in members[name].decode().splitlines()[1:]] for name in names]
    values = np.concatenate([np.array([row[:6] for row in part], np.float64) for part in rows])
    known = tuple(reversed(ACTIVITIES))
    stems = [name.rsplit("/", 1)[1].removesuffix(".csv").split("_") for name in names]
    scale = np.array([512, 512, 512, 1024, 1024, 1024], np.float32)
    np.savez(
        path,
        **byte_planes(np.rint(values * scale).astype(np.int16).T),
        offsets=np.cumsum([0, *map(len, rows)]),
        label=np.array([known.index(row[7]) for part in rows for row in part], np.uint8),
        activities=np.array(known),
        subject=np.array([int(subject[1:]) for subject, _, _ in stems], np.uint8),
        execution=np.array([int(execution) for _, execution, _ in stems], np.uint8),
        is_watch=np.array([device == "sw" for _, _, device in stems]),
        scale=scale,
    )
