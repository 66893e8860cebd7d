"""regrow data: what it prints, the files it writes, what it refuses. Run without the command-line front."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from regrow.cli.data import COMMAND
from regrow.episodes import SOURCES, open_source, png, sample
from regrow.episodes.readers import load_samples
from regrow.errors import RegrowError, SampleError


def _run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args([str(word) for word in argv]))


def _json(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, object]:
    assert _run(*argv, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert isinstance(facts, dict)
    return facts


def test_list_names_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(_json(capsys, "list")) == set(SOURCES)
    assert _run("list") == 0
    assert "stroke program" in capsys.readouterr().out


def test_show_counts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = _json(capsys, "show", "glyphs:test")
    assert facts["classes"] == 200
    assert facts["samples"] == 4000
    assert facts["sample_shape"] == [1, 28, 28]
    assert _json(capsys, "show", "sine")["task"] == "regression"


def test_show_draws_the_episode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_json(capsys, "show", "glyphs:val", "--way", 3, "--out", tmp_path / "g.png")["episode"]) == 3  # type: ignore[arg-type]
    episode = sample(open_source("glyphs:val"), 3, 1, 5, 0, 0)
    assert (tmp_path / "g.png").read_bytes() == png.encode(png.episode_grid(episode))


def test_grid_is_dark_on_light_with_one_line_per_class() -> None:
    sheet = png.episode_grid(sample(open_source("glyphs:val"), 3, 2, 4, 0, 0))
    assert sheet.shape[0] == 3 * 64
    assert sheet.max() == 255
    assert sheet.min() == 0
    assert 0.03 < (sheet < 128).mean() < 0.4


def test_support_and_query_files_are_what_adapt_and_predict_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s, q = tmp_path / "s.npz", tmp_path / "q.npz"
    sizes = ("--way", 5, "--shot", 2, "--queries", 3, "--seed", 4, "--index", 9)
    facts = _json(capsys, "episode", "glyphs:test", *sizes, "--support", s, "--query", q)
    want = sample(open_source("glyphs:test"), 5, 2, 3, 4, 9)
    support, query = load_samples(s, (1, 28, 28)), load_samples(q, (1, 28, 28))
    assert (support.x == want.support_x).all()
    assert support.labels == want.support_y.tolist()
    assert (query.x == want.query_x).all()
    assert facts["classes"] == list(want.classes)
    assert facts["wrote"] == [str(s), str(q)]


def test_one_file_and_class_names(tmp_path: Path) -> None:
    assert _run("episode", "glyphs:test", "--out", tmp_path / "e.npz", "--names") == 0
    want = sample(open_source("glyphs:test"), 5, 1, 5, 0, 0)
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["support_y"].tolist() == arrays["classes"].tolist() == list(want.classes)
        assert (arrays["query_x"] == want.query_x).all()


def test_a_sine_episode(tmp_path: Path) -> None:
    assert _run("episode", "sine", "--shot", 10, "--queries", 4, "--support", tmp_path / "s.npz") == 0
    labels = load_samples(tmp_path / "s.npz", (1,)).labels
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (10, 1)


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        _run("episode", "glyphs:test", "--out", tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_files_take_a_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "s.npz", x=np.zeros((4, 9)), y=["a", "a", "b", "b"])
    with pytest.raises(SampleError, match="expected \\(1, 3, 4\\)"):
        _run("show", f"files:{tmp_path / 's.npz'}", "--shape", "1x3x4")
    assert _json(capsys, "show", f"files:{tmp_path / 's.npz'}", "--shape", "1x9")["sample_shape"] == [1, 9]
    with pytest.raises(SystemExit):
        _run("show", "files:x", "--shape", "3x0")


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"mine")
    with pytest.raises(RegrowError, match="--force"):
        _run("episode", "glyphs:test", "--support", tmp_path / "s.npz")
    assert (tmp_path / "s.npz").read_bytes() == b"mine"
    assert _run("episode", "glyphs:test", "--support", tmp_path / "s.npz", "--force") == 0
    assert load_samples(tmp_path / "s.npz").labels == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("episode", "glyphs:test"), "give --support and --query"),
        (("show", "glyphs:test", "--shape", "1x9"), "it takes classes, samples, seed"),
        (("show", "sine", "--out", "no.png"), "expected images"),
        (("episode", "glyphs:test", "--out", "no.npz", "--way", 201), "n_way is 201"),
        (("episode", "sine", "--out", "no.npz", "--names"), "has no class names"),
    ],
)
def test_refusals(
    argv: tuple[object, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SampleError, match=says):
        _run(*argv)
    assert list(tmp_path.iterdir()) == []
