"""Files a person hands over: every accepted form is read, every damaged one refused with place and remedy."""

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.episodes import readers
from regrow.episodes.readers import load_labels, load_samples
from regrow.errors import SampleError

X = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
Y = ["a", "a", "b", "b", "c", "c"]


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_npz_with_text_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=X, y=np.array(Y))
    x, labels, names = load_samples(tmp_path / "s.npz", (1, 2, 2))
    assert (x == X).all()
    assert labels == Y
    assert names[2] == "s.npz[2]"


def test_npz_with_numbers_compressed_and_in_fortran_order(tmp_path: Path) -> None:
    wide = np.asfortranarray(X.reshape(6, 4).astype(np.float64))
    np.savez_compressed(tmp_path / "s.npz", x=wide, y=np.arange(6, dtype=np.uint8))
    x, labels, _ = load_samples(tmp_path / "s.npz")
    assert x.dtype == np.float32
    assert (x == X.reshape(6, 4)).all()
    assert labels == [0, 1, 2, 3, 4, 5]


def test_bytes_stay_bytes_and_a_missing_channel_is_added(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.full((3, 5, 4), 200, np.uint8), y=[0, 1, 2])
    x = load_samples(tmp_path / "s.npz", (1, 5, 4)).x
    assert (x.shape, x.dtype) == ((3, 1, 5, 4), np.uint8)


def test_npy_pair(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", X)
    np.save(tmp_path / "s.labels.npy", np.array(Y))
    assert load_samples(tmp_path / "s.npy", (1, 2, 2)).labels == Y


def test_npy_alone_is_unlabelled(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", X)
    assert load_samples(tmp_path / "s.npy", labelled=False).labels is None
    with pytest.raises(SampleError, match=r"expected s\.labels\.npy beside it"):
        load_samples(tmp_path / "s.npy")


def test_float_labels_are_targets_to_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=X, y=np.linspace(0, 1, 6))
    labels = load_samples(tmp_path / "s.npz").labels
    assert isinstance(labels, np.ndarray)
    assert (labels.shape, labels.dtype) == ((6, 1), np.float32)


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("\ufeffa,label,b\n1,cat,2.5\n\n-3e1,dog,4\n", encoding="utf-8")
    x, labels, names = load_samples(tmp_path / "s.csv", (2,))
    assert x.tolist() == [[1.0, 2.5], [-30.0, 4.0]]
    assert labels == ["cat", "dog"]
    assert names == ["s.csv:2", "s.csv:4"]


def test_csv_with_whole_number_labels_images_and_targets(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("label,a,b,c,d\n7,1,2,3,4\n10,5,6,7,8\n")
    assert load_samples(tmp_path / "s.csv", (1, 2, 2)).x.shape == (2, 1, 2, 2)
    assert load_samples(tmp_path / "s.csv").labels == [7, 10]
    (tmp_path / "t.csv").write_text("x,target\n1,0.5\n2,-1\n")
    labels = load_samples(tmp_path / "t.csv").labels
    assert isinstance(labels, np.ndarray)
    assert labels.tolist() == [[0.5], [-1.0]]


def test_csv_without_labels(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a,b\n1,2\n")
    assert load_samples(tmp_path / "s.csv", labelled=False).labels is None
    with pytest.raises(SampleError, match="a column 'label'"):
        load_samples(tmp_path / "s.csv")


BAD_CSV = {
    "ragged": ("a,label\n1,x\n2\n", "line 3: 1 cells, expected 2"),
    "text": ("a,label\none,x\n", "line 2: 'one' is not a number"),
    "nan": ("a,label\n1,x\nnan,y\n", "sample 1 holds NaN"),
    "infinite": ("a,label\n1e99,x\n", "sample 0 holds NaN or infinity"),
    "no label": ("a,label\n1,\n", r"the label of s\.csv:2 is empty"),
    "header only": ("a,label\n", "holds no samples"),
    "nothing": ("", "holds no"),
    "only labels": ("label\nx\n", r"shape \(0,\), expected \(1,\)"),
    "target": ("a,target\n1,x\n", "'x' is not a number"),
    "NaN target": ("a,target\n1,nan\n", "row 0 is not a finite number"),
    "shape": ("a,b,label\n1,2,x\n", r"shape \(2,\), expected \(1,\)"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path: Path, case: str) -> None:
    text, says = BAD_CSV[case]
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(SampleError, match=says):
        load_samples(tmp_path / "s.csv", (1,))


def test_csv_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"label,a\n\xff\xfe,1\n")
    with pytest.raises(SampleError, match="cannot be read"):
        load_samples(tmp_path / "s.csv")


BAD_NPZ = {
    "no x": ({"z": X}, r"no array 'x', found \['z'\]"),
    "no y": ({"x": X}, "an array 'y'"),
    "few labels": ({"x": X, "y": Y[:5]}, "5 labels for 6 samples"),
    "nan": ({"x": np.where(X == 9, np.nan, X), "y": Y}, "sample 2 holds NaN"),
    "too large": ({"x": X.astype(np.float64) * 1e300, "y": Y}, "sample 0 holds NaN or infinity"),
    "shape": ({"x": X.reshape(6, 4), "y": Y}, r"shape \(4,\), expected \(1, 2, 2\)"),
    "transposed": ({"x": np.zeros((6, 2, 2, 3)), "y": Y}, "reshape"),
    "no samples": ({"x": X[:0], "y": np.array([], int)}, "holds no samples"),
    "scalar": ({"x": np.float32(1), "y": Y}, "expected numbers"),
    "complex": ({"x": X + 1j, "y": Y}, "complex64"),
    "text samples": ({"x": np.array(Y), "y": Y}, "expected numbers"),
    "one-hot": ({"x": X, "y": np.eye(6, dtype=int)}, r"int64 of shape \(6, 6\)"),
    "dates": ({"x": X, "y": np.zeros(6, "datetime64[s]")}, "datetime64"),
    "NaN target": ({"x": X, "y": np.full(6, np.nan)}, "row 0 is not a finite number"),
    "objects": ({"x": X, "y": np.array([{}] * 6)}, "Python objects"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz(tmp_path: Path, case: str) -> None:
    arrays, says = BAD_NPZ[case]
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(SampleError, match=says):
        load_samples(tmp_path / "s.npz", (1, 2, 2))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    np.save(tmp_path / "s.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(SampleError, match="Python objects"):
        load_samples(tmp_path / "s.npy", labelled=False)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_claims_too_much_takes_no_memory(tmp_path: Path) -> None:
    honest = _npy(np.zeros((1, 9), np.float32))
    (tmp_path / "s.npy").write_bytes(honest.replace(b"(1, 9)", b"(9,9999999999)"[:14]))
    with pytest.raises(SampleError, match=r"s\.npy"):
        load_samples(tmp_path / "s.npy", labelled=False)
    claims = honest.replace(b"(1, 9), }" + b" " * 12, b"(999999999999, 9), } ")
    assert len(claims) == len(honest)
    (tmp_path / "s.npy").write_bytes(claims)
    with pytest.raises(SampleError, match="36 bytes of data, expected 35999999999964"):
        load_samples(tmp_path / "s.npy", labelled=False)


def test_a_bomb_in_an_archive_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "s.npz", x=np.zeros((1, 9999), np.float32), y=[0])
    with pytest.raises(SampleError, match="unpacks to more than 10000 bytes"):
        load_samples(tmp_path / "s.npz")
    (tmp_path / "s.csv").write_text("a\n" + "1\n" * 9999)
    with pytest.raises(SampleError, match="larger than 10000 bytes"):
        load_samples(tmp_path / "s.csv")


def test_a_damaged_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "s.npz", x=X, y=np.array(Y))
    whole = (tmp_path / "s.npz").read_bytes()
    for data in (b"", whole[:100], whole[:-30], whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]):
        (tmp_path / "s.npz").write_bytes(data)
        with pytest.raises(SampleError, match=r"s\.npz"):
            load_samples(tmp_path / "s.npz")


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_changed_byte_gives_samples_or_a_sample_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "s.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", _npy(X))
        archive.writestr("y.npy", _npy(np.array(Y)))
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(bytes(data[: at % len(data)] if cut else data))
    # Anything but a SampleError escapes and fails the test.
    with contextlib.suppress(SampleError):
        samples = load_samples(path)
        assert samples.labels is not None
        assert len(samples.x) == len(samples.labels)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="not found"):
        load_samples(tmp_path / "none.npz")
    (tmp_path / "s.parquet").write_bytes(b"PAR1")
    with pytest.raises(SampleError, match=r"unknown suffix '\.parquet', expected \.npz"):
        load_samples(tmp_path / "s.parquet")


def test_labels_alone(tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("cat\n dog \ncat\n")
    assert load_labels(tmp_path / "y.txt") == ["cat", "dog", "cat"]
    np.save(tmp_path / "y.npy", np.array([3, 1]))
    assert load_labels(tmp_path / "y.npy") == [3, 1]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("y.txt", b"cat\n\ndog\n", "the label of line 2 is empty"),
        ("y.txt", b"\xff\xfe", "cannot be read"),
        ("y.npy", b"cat", "not a .npy array"),
        ("y.npy", _npy(np.eye(2, dtype=int)), "one text or whole number"),
        ("y.csv", b"", r"expected \.npy or \.txt"),
    ],
)
def test_bad_labels(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SampleError, match=says):
        load_labels(tmp_path / name)
