"""What studies declare, what may be tested when, and how records become a page; trains nothing."""

import json
import subprocess
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks.studies import STUDIES, choose, page, record
from benchmarks.studies.boxes import boxes
from benchmarks.studies.methods import RAW
from benchmarks.studies.study import RESULTS, ROOT, load, plain_data
from regrow_trainer.recipe import load_recipe


def test_studies_are_complete() -> None:
    for name in STUDIES:
        found = load(name)
        assert found.name == name
        assert found.main_shots in found.shots
        assert load_recipe(str(found.recipe_path)).name == found.recipe
        json.dumps(plain_data(found))


def test_nothing_is_tested_before_the_choice_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(choose, "ROOT", tmp_path)
    git("init")
    git("commit", "--allow-empty", "-m", "Begin")
    path = tmp_path / "protocols" / "tiny.json"
    choose.write(path, {"chosen": 1})
    with pytest.raises(SystemExit, match="is not committed as it is"):
        choose.committed(path)
    git("add", ".")
    git("commit", "-m", "Choose")
    assert len(choose.committed(path)) == 40
    choose.write(path, {"chosen": 2})
    with pytest.raises(SystemExit, match="is not committed as it is"):
        choose.committed(path)


def test_devices_of_one_person_count_once() -> None:
    scores = {"a phone": 0.2, "a watch": 0.4, "b phone": 0.9, "b watch": 0.9}
    methods = {
        name: {"users": {user: {"after": {"1": factor * value}} for user, value in scores.items()}}
        for name, factor in (("ours", 1.0), (RAW, 0.0))
    }
    made = {"study": {"of_people": True}, "users": [*scores], "methods": methods}
    assert record.people(made) == {"a": ["a phone", "a watch"], "b": ["b phone", "b watch"]}
    gap = record.ahead(made, RAW, 1)
    assert (gap.mean, gap.episodes, gap.real) == (pytest.approx(0.6), 2, False)


def test_the_committed_page_is_that_of_the_records() -> None:
    assert page.write(RESULTS, ROOT / "docs", check=True) == 0


def test_a_box_spans_its_users() -> None:
    drawing = boxes([("one", {"before": [], "after": [0.5, 0.6, 1.0]})], "label", "below")
    assert drawing.count("<circle") == 3
    assert drawing.count("<rect") == 1
