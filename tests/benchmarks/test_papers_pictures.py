"""The tables whose pictures their user has to bring, each run on small stand-ins for them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")
image = pytest.importorskip("PIL.Image")

from benchmarks.papers import __main__ as papers
from benchmarks.papers import gems, gems_originals, measure, pamela, pamela_imagenet, scopes
from benchmarks.papers.table import Preset, Table
from benchmarks.papers.tables import TABLES
from benchmarks.papers.work import Work
from regrow.datasets import prepare, split
from regrow.episodes import open_classes
from regrow.errors import RegrowError
from regrow_trainer.rundir import RunDir

# source -> where its classes lie, and how many pictures one has
FOLDERS = {
    "mini_imagenet": ("mini_imagenet", 6),
    "cub": ("CUB_200_2011/images", 6),
    "tiered_imagenet": ("tiered_imagenet", 2),
    "vgg_flower": ("vgg_flower", 2),
    "aircraft": ("aircraft", 2),
    "fungi": ("fungi", 1),
}
COMMON = 16  # pictures of the first five species of fungi in every part
PICTURES = [t for t in TABLES if set(t.needs) & set(FOLDERS) and t.name.startswith(("anp", "meta_lth"))]
SHORT = (
    *("train.iterations=2", "tasks=1", "chunk=1", "queries=1", "train.batching=loop"),
    *("validation.every=9", "validation.episodes=1", "validation.queries=1"),
)
NARROW = {"resnet12": "backbone.args.widths=[4, 4, 4, 4]", "conv4": "backbone.args.width=4"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A few pictures of every class of all sets."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for source, (below, few) in FOLDERS.items():
        for at, name in ((at, n) for names in split.load(source).values() for at, n in enumerate(names)):
            place = folder / source / below / name.replace("/", "_")
            place.mkdir(parents=True)
            for i in range(COMMON if source == "fungi" and at < 5 else few):
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


MINI, TIERED = pamela_imagenet.TABLES
NEXT_TO_NOTHING = {"train": SHORT, "plain": (NARROW["conv4"],), "mmsup": ("backbone.args.args.width=4",)}


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (MINI, [f"{pamela.MAMLPP}, 1-shot", f"{pamela.REPTILE_50}, 1-shot", f"{pamela.PAMELA}, 5-shot"]),
        (TIERED, [f"{row}, 1-shot" for row in (*pamela_imagenet.CASES[1].printed, pamela.FAST)]),
    ],
    ids=lambda v: v.name if isinstance(v, Table) else "",
)
def test_pamelas_rows_run_where_their_pictures_are(
    table: Table, keys: list[str], pictures: None, tmp_path: Path
) -> None:
    preset, work = replace(table.presets["gpu"], episodes=2), Work(tmp_path, 1)
    assert {j.key for j in table.jobs(preset)} == {c.key for c in table.cells if "(not here)" not in c.row}
    preset = replace(preset, sets={**preset.sets, "train": (*SHORT, NARROW["conv4"])})
    jobs = [j for j in table.jobs(preset) if j.key in keys]
    assert len(jobs) == len(keys)
    for cell in (work.cell(table.name, preset, j) for j in jobs):
        last = work.last(RunDir(tmp_path / cell["runs"][0]))
        assert last.recipe["data"]["test"] == f"{table.needs[0]}:test"
        assert last.params["head.weight"].shape == (5, 4 * 5 * 5)
        assert np.isfinite(cell["scores"]).all()


def test_pamelas_learners_have_the_published_sizes(pictures: None, tmp_path: Path) -> None:
    (case, *_), work = pamela_imagenet.CASES, Work(tmp_path, 1)
    still = Preset("none", (0,), 0, {"train": (*SHORT, "train.iterations=0")})
    sizes = {}
    for row in (pamela.MAML, pamela.META_SGD, pamela.PAMELA):
        last = work.last(work.trained("size", pamela.recipe(case, row, 1, 0, still, work)))
        weights, rates = (sum(a.size for a in part.values()) for part in (last.params, last.meta))
        sizes[row] = weights + rates
    # The paper's table 1 counts neither the rate that MAML is given nor P, a number per layer of two steps.
    assert list(sizes.values()) == [121093 + 1, 242186, 162398 + 2 * 5]


def test_mixtures_of_the_paper_share_a_learner(pictures: None, tmp_path: Path) -> None:
    work, alone = Work(tmp_path, 1), set()
    for table in gems_originals.TABLES:
        full = table.presets["gpu"]
        assert {j.key for j in table.jobs(full)} == {c.key for c in table.cells}
        preset = replace(full, seeds=(0,), episodes=2, sets=NEXT_TO_NOTHING)
        every = gems.RECIPES if table is gems_originals.TABLES[-1] else (gems.ONE, gems.OWN)
        jobs = [j for j in table.jobs(preset) if j.key.rpartition(",")[0] in every]
        assert len(jobs) == 2 * len(every)
        done = {j.key: work.cell(table.name, preset, j) for j in jobs}
        assert all(np.isfinite(cell["scores"]).all() for cell in done.values())
        runs = {key: work.last(RunDir(tmp_path / cell["runs"][0])) for key, cell in done.items()}
        for made in runs.values():
            assert made.params["head.weight"].shape == (5, 4 * 5 * 5)
            assert made.recipe["train"]["lr"] == 1e-4
        alone |= set(done[f"{gems.OWN}, Aircraft"]["runs"])
    assert len(alone) == 1
    rates = {row: runs[f"{row}, Aircraft"].recipe["train"]["rule_lr"] for row in gems.RECIPES}
    assert rates == {**dict.fromkeys(gems.RECIPES, 0), gems.BMP: 1e-4}
    assert [open_classes("fungi:test", **args).n_classes for args in ({}, {"at_least": 16})] == [200, 5]


@pytest.mark.parametrize(
    "table",
    [PICTURES[0], PICTURES[-1], pamela_imagenet.TABLES[-1], gems_originals.TABLES[-1]],
    ids=lambda t: t.name,
)
def test_without_them_it_says_where_to_get_them(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare.opened.cache_clear()
    with pytest.raises(RegrowError, match=rf"'{table.needs[0]}': not found below .*REGROW_DATA"):
        papers.run(table, "gpu", Work(tmp_path / "runs", 1))
