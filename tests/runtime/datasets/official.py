"""Small stand-ins in the official layouts."""

from __future__ import annotations

import gzip
import io
import tarfile
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
