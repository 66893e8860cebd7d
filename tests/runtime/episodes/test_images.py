"""Folders of images: labels from folder names, fitted to the model's shape, hostile files refused."""

import builtins
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from regrow.episodes import open_classes, png
from regrow.episodes.readers import load_samples
from regrow.errors import SampleError, UnsupportedError

SHAPE = (1, 8, 8)


def _square(path: Path, value: int = 0, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png.encode(np.full((size, size), value, np.uint8)))


def _image(path: Path, mode: str, size: tuple[int, int], colour: object, **options: object) -> None:
    image = pytest.importorskip("PIL.Image").new(mode, size, colour)
    image.save(path, **options)


def test_without_pillow_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _square(tmp_path / "a.png")
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UnsupportedError, match=r"pip install 'regrow\[images\]'"):
        load_samples(tmp_path / "a.png", SHAPE, labelled=False)


class TestWithPillow:
    """Everything that decodes an image."""

    @pytest.fixture(autouse=True)
    def _pillow(self) -> None:
        pytest.importorskip("PIL.Image")

    def test_a_folder_per_class(self, tmp_path: Path) -> None:
        for name, value in (("dot/1.png", 10), ("dot/2.png", 20), ("bar/1.PNG", 30)):
            _square(tmp_path / name, value)
        (tmp_path / ".DS_Store").write_bytes(b"x")
        (tmp_path / "dot" / "Thumbs.db").write_bytes(b"x")
        x, labels, names = load_samples(tmp_path, SHAPE)
        assert x.dtype == np.uint8
        assert x[:, 0, 0, 0].tolist() == [30, 10, 20]
        assert labels == ["bar", "dot", "dot"]
        assert names[0].endswith("1.PNG")

    def test_a_flat_folder_and_one_image_have_no_labels(self, tmp_path: Path) -> None:
        _square(tmp_path / "q1.png", 1)
        _square(tmp_path / "q2.png", 2)
        assert load_samples(tmp_path, SHAPE, labelled=False).x.shape == (2, *SHAPE)
        assert load_samples(tmp_path / "q2.png", SHAPE, labelled=False).x.max() == 2
        with pytest.raises(SampleError, match="expected a folder per class"):
            load_samples(tmp_path, SHAPE)

    def test_invert_makes_dark_ink_one(self, tmp_path: Path) -> None:
        _square(tmp_path / "q.png", 5)
        assert (load_samples(tmp_path / "q.png", SHAPE, labelled=False, invert=True).x == 250).all()

    def test_resized_with_antialiasing_to_height_and_width(self, tmp_path: Path) -> None:
        stripes = np.zeros((64, 64), np.uint8)
        stripes[:, ::2] = 255
        (tmp_path / "q.png").write_bytes(png.encode(stripes))
        x = load_samples(tmp_path / "q.png", (1, 4, 6), labelled=False).x
        assert x.shape == (1, 1, 4, 6)
        assert np.abs(x.astype(int) - 128).max() < 12  # point sampling would give 0 or 255

    @pytest.mark.parametrize(
        ("mode", "colour", "channels", "want"),
        [
            ("RGB", (255, 0, 0), 3, [255, 0, 0]),
            ("RGB", (255, 0, 0), 1, [76]),
            ("RGBA", (0, 0, 0, 0), 3, [255, 255, 255]),
            ("LA", (0, 255), 1, [0]),
            ("L", 9, 3, [9, 9, 9]),
            ("1", 1, 1, [255]),
            ("P", 0, 1, [0]),
            ("I;16", 0x8012, 1, [128]),
        ],
    )
    def test_colours(self, tmp_path: Path, mode: str, colour: object, channels: int, want: list[int]) -> None:
        _image(tmp_path / "q.png", mode, (8, 8), colour)
        x = load_samples(tmp_path / "q.png", (channels, 8, 8), labelled=False).x
        assert x[0, :, 3, 3].tolist() == want

    def test_jpeg_is_turned_upright(self, tmp_path: Path) -> None:
        pillow = pytest.importorskip("PIL.Image")
        picture = np.zeros((16, 32), np.uint8)
        picture[:, :16] = 255  # the left half is light
        exif = pillow.Exif()
        exif[0x0112] = 6  # show it turned by 90 degrees clockwise: left becomes top
        pillow.fromarray(picture).save(tmp_path / "q.jpg", exif=exif, quality=95)
        x = load_samples(tmp_path / "q.jpg", (1, 8, 4), labelled=False).x[0, 0]
        assert x[:3].min() > 200
        assert x[5:].max() < 55

    def test_an_empty_class(self, tmp_path: Path) -> None:
        _square(tmp_path / "a" / "1.png")
        (tmp_path / "b").mkdir()
        with pytest.raises(SampleError, match="b: holds no images"):
            load_samples(tmp_path, SHAPE)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SampleError, match="holds no images"):
            load_samples(tmp_path, SHAPE)

    def test_loose_and_foreign_files(self, tmp_path: Path) -> None:
        _square(tmp_path / "a" / "1.png")
        _square(tmp_path / "2.png")
        with pytest.raises(SampleError, match=r"'2\.png' lies beside 1 folders"):
            load_samples(tmp_path, SHAPE)
        (tmp_path / "2.png").unlink()
        (tmp_path / "a" / "notes.txt").write_text("hello")
        with pytest.raises(SampleError, match=r"notes\.txt: expected \.png"):
            load_samples(tmp_path, SHAPE)

    @pytest.mark.parametrize("shape", [None, (784,), (2, 8, 8)])
    def test_a_shape_that_images_cannot_take(self, tmp_path: Path, shape: tuple[int, ...] | None) -> None:
        _square(tmp_path / "q.png")
        with pytest.raises(SampleError, match="images need a shape"):
            load_samples(tmp_path / "q.png", shape, labelled=False)

    def test_damaged_images(self, tmp_path: Path) -> None:
        whole = png.encode(np.arange(256, dtype=np.uint8).reshape(16, 16))
        for data in (b"", b"not an image", whole[:20], whole[:70], whole[:50] + b"\0\0\0\0" + whole[54:]):
            (tmp_path / "q.png").write_bytes(data)
            with pytest.raises(SampleError, match=r"q\.png: cannot be decoded"):
                load_samples(tmp_path / "q.png", SHAPE, labelled=False)

    @pytest.mark.parametrize("side", [9000, 30000])
    def test_a_decompression_bomb(self, tmp_path: Path, side: int) -> None:
        # A header alone: nothing may be decoded before the size is refused.
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        data = b"IDAT" + zlib.compress(b"\0" * 100)
        body = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        (tmp_path / "q.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + body)
        with pytest.raises(SampleError, match=r"q\.png"):
            load_samples(tmp_path / "q.png", SHAPE, labelled=False)

    def test_png_writer_is_read_back_by_pillow(self, tmp_path: Path) -> None:
        pillow = pytest.importorskip("PIL.Image")
        image = np.arange(35 * 17, dtype=np.uint8).reshape(35, 17)
        (tmp_path / "q.png").write_bytes(png.encode(image))
        with pillow.open(tmp_path / "q.png") as read:
            assert (np.asarray(read) == image).all()

    def test_files_as_a_source(self, tmp_path: Path) -> None:
        for name in ("2", "10"):
            for i in range(3):
                _square(tmp_path / name / f"{i}.png", 51 * i)
        source = open_classes(f"files:{tmp_path}", shape=SHAPE)
        assert source.classes == ["10", "2"]
        assert source.sample_shape == SHAPE
        assert source.take(1, np.array([2, 0]))[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.0])


def test_a_file_as_a_source_orders_whole_numbers_by_value(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.arange(6, dtype=np.float32)[:, None], y=[10, 2, 10, 2, 2, 10])
    source = open_classes(f"files:{tmp_path / 's.npz'}")
    assert source.classes == ["2", "10"]
    assert source.take(0, np.arange(3))[:, 0].tolist() == [1, 3, 4]


def test_a_source_of_targets_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 1)), y=[0.5, 1.5])
    with pytest.raises(SampleError, match="numbers to fit"):
        open_classes(f"files:{tmp_path / 's.npz'}")
