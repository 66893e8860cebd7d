"""The tables whose pictures their user has to bring, each run on small stand-ins for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")
image = pytest.importorskip("PIL.Image")

from benchmarks.papers import __main__ as papers
from benchmarks.papers import measure, scopes
from benchmarks.papers.table import Preset, Table
from benchmarks.papers.tables import TABLES
from benchmarks.papers.work import Work
from regrow.datasets import prepare, split
from regrow.errors import RegrowError
from regrow_trainer.rundir import RunDir

FOLDERS = {"mini_imagenet": "mini_imagenet", "cub": "CUB_200_2011/images"}
PICTURES = [t for t in TABLES if set(t.needs) & set(FOLDERS)]
SHORT = (
    *("train.iterations=2", "tasks=1", "chunk=1", "queries=1", "train.batching=loop"),
    *("validation.every=9", "validation.episodes=1", "validation.queries=1"),
)
NARROW = {"resnet12": "backbone.args.widths=[4, 4, 4, 4]", "conv4": "backbone.args.width=4"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Six pictures of every class of both sets, each class of a colour of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for source, below in FOLDERS.items():
        for name in (n for names in split.load(source).values() for n in names):
            place = folder / source / below / name
            place.mkdir(parents=True)
            for i in range(6):
                x = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                image.fromarray(x).save(place / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGROW_DATA", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(measure, "QUERIES", 1)
        patch.setattr(scopes, "VALIDATION", 1)
        prepare.opened.cache_clear()
        yield
    prepare.opened.cache_clear()


# A curvature of 64 tasks takes ten seconds here, a minute for ResNet-12.
_OF_MANY = [pytest.param(t, "30/anp", marks=pytest.mark.slow) for t in PICTURES if "anp" in t.name]
_TWINS = ("anp_5", "anp_7")  # the learners of tables 4 and 6, on the other pictures
_CHEAP = [
    pytest.param(
        t, "5w5s/90/kept" if "lth" in t.name else "30/l-obs-own",
        marks=[pytest.mark.slow] * (t.name in _TWINS),
    )
    for t in PICTURES
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "key"), [*_CHEAP, *_OF_MANY], ids=lambda v: v if isinstance(v, str) else v.name
)
def test_a_table_runs_where_its_pictures_are(table: Table, key: str, pictures: None, tmp_path: Path) -> None:
    assert table.jobs is not None
    full = table.presets["gpu"]
    narrow = NARROW["resnet12" if "ResNet-12" in table.title else "conv4"]
    base = ("learner.batch_norm=transductive", *SHORT, narrow)
    if "CAVIA" in table.title:
        base = (*base, "backbone.args.context=4")
    if "Reptile" in table.title:
        base = (*base, "learner.steps=2", "train.steps=2", "train.strategy_args={ batch = 4 }")
    preset = Preset("seconds", (0,), 2, {"base": base, "retrain": ()}, full.parts)
    work = Work(tmp_path, 1)
    (job,) = [j for j in table.jobs(preset) if j.key == key]
    found = work.cell(table.name, preset, job)
    assert len(found["scores"]) == 2
    assert np.isfinite(found["scores"]).all()
    last = work.last(RunDir(tmp_path / found["runs"][-1]))
    for mask in last.masks.values():
        assert mask.mean() == pytest.approx(0.1 if "lth" in table.name else 0.7, abs=0.05)


@pytest.mark.parametrize("table", PICTURES[:1] + PICTURES[-1:], ids=lambda t: t.name)
def test_without_them_it_says_where_to_get_them(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare.opened.cache_clear()
    with pytest.raises(RegrowError, match=rf"'{table.needs[0]}': not found below .*REGROW_DATA"):
        papers.run(table, "gpu", Work(tmp_path / "runs", 1))
