"""regrow data prepare and check, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regrow.cli import main
from regrow.episodes import GroupSource, open_source
from tests.runtime.datasets import official


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["data", *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert isinstance(facts, dict)
    return facts


def test_prepare_shows_the_terms_and_says_where(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official.omniglot_packed(data)
    facts = _json(capsys, "prepare", "omniglot")
    assert (facts["licence"], facts["samples"], facts["classes"]) == ("MIT", 3 * 1623, 1623)
    assert "Lake" in str(facts["citation"])
    assert (Path(str(facts["prepared"])) / "x.npy").is_file()


def test_show_names_the_people_of_a_group_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{n},{u},{k}" for u in ("ana", "ben") for k in ("x", "y") for n in range(3)]
    (tmp_path / "t.csv").write_text("a,user,label\n" + "\n".join(rows) + "\n")
    facts = _json(capsys, "show", f"users:{tmp_path / 't.csv'}")
    assert (facts["groups"], facts["classes"], facts["samples"]) == (["ana", "ben"], 2, 12)


def test_prepare_says_how_the_files_are_to_lie(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "mini_imagenet"]) != 0
    told = capsys.readouterr().err
    assert "citation: Vinyals" in told
    assert "note: one folder per synset" in told


@pytest.mark.parametrize("column", ["user", "device"])
def test_a_table_of_sensors_names_users_or_devices(column: str, tmp_path: Path) -> None:
    rows = [f"{n},{u},{k}" for u in ("ana", "ben") for k in ("x", "y") for n in range(3)]
    path = tmp_path / "t.csv"
    path.write_text(f"a,{column},label\n" + "\n".join(rows) + "\n")
    owners = np.repeat(["ana", "ben"], 6)
    labels = np.tile(np.repeat(["x", "y"], 3), 2)
    np.savez(tmp_path / "t.npz", x=np.zeros((12, 1), np.float32), y=labels, **{column: owners})
    for file in (path, tmp_path / "t.npz"):
        left_out = open_source(f"users:{file}", without=["ana"])
        assert isinstance(left_out, GroupSource)
        assert list(left_out.groups) == ["ben"]
        assert left_out.sample_shape == (1,)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prepare", "omniglt"], "did you mean 'omniglot'"),
        (["check", "stl10"], "data prepare stl10 --download"),
        (["check", "mini_imagenet"], "get it from https://www.image-net.org"),
        (["check", "fungi"], "data prepare fungi --download"),
        (["prepare", "mini_imagenet", "--download"], "no direct download"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *words]) != 0
    assert says in capsys.readouterr().err.splitlines()[-1]
