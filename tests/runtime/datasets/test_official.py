"""Official files are read as their publishers lay them out, and drawn from like any source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrow.datasets import check, prepare, split
from regrow.datasets.catalog import DATASETS
from regrow.episodes import SOURCES, open_classes, open_source, sample
from regrow.errors import SampleError
from tests.runtime.datasets import official

ALL = np.arange(2)


@pytest.mark.parametrize("name", sorted({d.split for d in DATASETS.values() if d.split}))
def test_the_parts_of_every_split_share_nothing(name: str) -> None:
    parts = check.disjoint(name)
    assert set(parts) == {"train", "val", "test"}
    assert all(parts.values())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("omniglot_vinyals", (1028, 172, 423)),
        ("cifar_fs", (64, 16, 20)),
        ("fc100", (60, 20, 20)),
        ("mini_imagenet", (64, 16, 20)),
        ("tiered_imagenet", (351, 97, 160)),
        ("cub", (100, 50, 50)),
        ("fungi", (994, 200, 200)),
    ],
)
def test_splits_have_the_published_sizes(name: str, sizes: tuple[int, ...]) -> None:
    assert tuple(len(names) for names in split.load(name).values()) == sizes


def test_a_list_that_names_a_class_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "load", lambda name: {"train": ("a", "b"), "val": ("b",), "test": ()})
    with pytest.raises(SampleError, match="'b' stands in two places"):
        check.disjoint("cub")


def test_omniglot_by_vinyals_and_by_its_own_parts(data: Path) -> None:
    official.omniglot_packed(data)
    train, val = open_classes("omniglot:train"), open_classes("omniglot:val")
    assert (train.n_classes, train.sample_shape, train.samples(0)) == (1028, (1, 28, 28), 3)
    assert not set(train.classes) & set(val.classes)
    assert open_classes("omniglot:trainval").n_classes == 1200
    assert open_classes("omniglot:evaluation", split="official").n_classes == 811
    x = train.take(0, ALL)
    assert x.dtype == np.float32
    assert x.max() <= 1
    assert np.allclose(x * 15, np.round(x * 15), atol=1e-5)


def test_a_turned_character_is_a_class_of_its_own(data: Path) -> None:
    official.omniglot_packed(data)
    plain, turned = open_classes("omniglot:val"), open_classes("omniglot:val", rotations="classes")
    assert turned.n_classes == 4 * plain.n_classes
    assert len(set(turned.classes)) == turned.n_classes
    upright, quarter = turned.take(5, ALL), turned.take(5 + plain.n_classes, ALL)
    assert (upright == plain.take(5, ALL)).all()
    assert (quarter == np.rot90(upright, 1, axes=(-2, -1))).all()


def test_every_class_of_an_episode_is_turned_by_a_quarter_of_its_own(data: Path) -> None:
    official.omniglot_packed(data)
    plain, turning = open_classes("omniglot:val"), open_classes("omniglot:val", rotations="episodes")
    assert turning.n_classes == plain.n_classes
    seen = np.zeros(4, int)
    for index in range(40):
        upright, e = (sample(source, 5, 1, 2, 3, index) for source in (plain, turning))
        assert e.classes == upright.classes
        for label in range(5):
            pairs = [
                (upright.support_x[upright.support_y == label], e.support_x[e.support_y == label]),
                (upright.query_x[upright.query_y == label], e.query_x[e.query_y == label]),
            ]
            # One quarter for the whole class, support and query alike.
            fits = [q for q in range(4) if all((np.rot90(a, q, axes=(-2, -1)) == b).all() for a, b in pairs)]
            assert len(fits) == 1
            seen[fits[0]] += 1
    assert seen.min() > 30  # of 200 classes, 50 are expected of each
    with pytest.raises(SampleError, match="none, classes or episodes"):
        open_source("omniglot:val", rotations="always")


def test_omniglots_archives_ink_is_one(data: Path) -> None:
    inks = official.omniglot_zips(data)
    table = prepare.load("omniglot")
    assert table.names["class"] == (
        *("Greek/character01", "Greek/character02", "Angelic/character01", "Angelic/character02"),
    )
    assert table.columns["official"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    # 105 is no multiple of 28, but averaging keeps the amount of ink.
    assert np.allclose((table.x * table.scale).mean((1, 2, 3)), inks.mean((1, 2)), atol=0.01)


def test_cifar_pools_training_and_test_images(data: Path) -> None:
    x = official.cifar(data)
    table = prepare.load("cifar_fs")
    assert (table.x[:300] == x).all()
    source = open_classes("cifar_fs:test")
    assert (source.n_classes, source.sample_shape, source.samples(0)) == (20, (3, 32, 32), 4)
    first = table.names["class"].index(source.classes[0])
    assert np.allclose(source.take(0, np.array([0]))[0], x[3 * first] / 255)
    assert open_classes("fc100:train").n_classes == 60
    # Both are the same samples, prepared once.
    assert prepare.folder("fc100") == prepare.folder("cifar_fs")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_lie_in_the_folder_of_their_dataset(data: Path, name: str) -> None:
    x = official.idx(data / name)
    everything, train, test = (open_classes(name + part) for part in ("", ":train", ":test"))
    assert [s.samples(0) for s in (everything, train, test)] == [7, 5, 2]
    assert np.allclose(train.take(3, np.array([1]))[0, 0] * 255, x[13])
    with pytest.raises(SampleError, match="no part 'val', expected train, test or none"):
        open_source(f"{name}:val")


def test_stl10_rows_and_columns_are_put_right(data: Path) -> None:
    x = official.stl10(data)
    source = open_classes("stl10:train")
    assert source.classes[0] == "airplane"
    assert np.allclose(source.take(2, ALL) * 255, x[[2, 12]])


@pytest.mark.parametrize("parts", [True, False])
def test_a_folder_per_class_with_and_without_parts(data: Path, parts: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    for part, names in split.load("mini_imagenet").items():
        for i, name in enumerate(names):
            folder = data / "mini_imagenet" / (part if parts else ".") / name
            folder.mkdir(parents=True)
            image.fromarray(np.full((50, 60, 3), i, np.uint8)).save(folder / "1.png")
    source = open_classes("mini_imagenet:val")
    assert (source.n_classes, source.sample_shape) == (16, (3, 84, 84))
    assert np.allclose(source.take(7, np.array([0])) * 255, 7)


def test_a_folder_set_that_lacks_classes_says_which(data: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = data / "cub" / "CUB_200_2011" / "images" / "002.Laysan_Albatross"
    folder.mkdir(parents=True)
    image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "1.png")
    with pytest.raises(SampleError, match=r"no class '\d+\..*more of 50 in the split"):
        open_source("cub:test")


@pytest.mark.parametrize("name", list(DATASETS))
def test_what_is_not_there_says_what_to_do(name: str) -> None:
    assert name in SOURCES
    with pytest.raises(SampleError, match=rf"source '{name}': not found below .*REGROW_DATA"):
        open_source(f"{name}:train")


@pytest.mark.parametrize(
    ("make", "name", "file"),
    [
        (official.cifar, "cifar_fs", "cifar-100-binary.tar.gz"),
        (official.stl10, "stl10", "stl10_binary.tar.gz"),
        (official.idx, "mnist", "train-images-idx3-ubyte.gz"),
        (official.omniglot_zips, "omniglot", "images_background.zip"),
    ],
)
def test_a_cut_archive_is_one_clear_error(data: Path, make, name: str, file: str) -> None:  # type: ignore[no-untyped-def]
    make(data)
    whole = (data / file).read_bytes()
    (data / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SampleError, match=rf"{file}: .*again"):
        open_source(f"{name}:train")


def test_checksums_are_compared(data: Path) -> None:
    official.stl10(data)
    with pytest.raises(SampleError, match=r"stl10_binary.tar.gz: md5:.*, expected md5:91f7"):
        check.check("stl10")


def test_prepared_once_and_again_when_the_files_change(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.omniglot_packed(data)
    first = prepare.load("omniglot")
    assert isinstance(first.x, np.memmap)
    assert "preparing omniglot" in capsys.readouterr().err
    assert (prepare.load("omniglot").x == first.x).all()
    assert capsys.readouterr().err == ""
    official.omniglot_packed(data, drawings=4)
    assert len(prepare.load("omniglot").x) == 4 * 1623
    # What was prepared serves without the files, too.
    (data / "omniglot_28.npz").unlink()
    assert len(prepare.load("omniglot").x) == 4 * 1623


@pytest.mark.parametrize("file", ["x.npy", "columns.npy", "index.json"])
def test_a_damaged_table_is_prepared_again(data: Path, file: str) -> None:
    official.omniglot_packed(data)
    whole = np.array(prepare.load("omniglot").x)
    place = prepare.folder("omniglot") / file
    place.write_bytes(place.read_bytes()[:50])
    assert (prepare.load("omniglot").x == whole).all()


def test_where_nothing_can_be_kept_it_still_reads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    official.omniglot_packed(data)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(prepare.load("omniglot").x) == 3 * 1623
    assert "not kept for the next time" in capsys.readouterr().err


def test_episodes_are_drawn_from_it(data: Path) -> None:
    official.omniglot_packed(data)
    e = sample(open_source("omniglot:test"), 5, 1, 2, 0, 3)
    assert e.support_x.shape == (5, 1, 28, 28)
    assert len(set(e.classes)) == 5
    again = sample(open_source("omniglot:test"), 5, 1, 2, 0, 3)
    assert (again.query_x == e.query_x).all()
