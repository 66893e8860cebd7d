"""The parts of a choice that need no export: budgets, candidate sets, tables, and what is shown meanwhile."""

import pytest

from regrow.errors import UnsupportedError
from regrow_exporter.budget import Budget, candidates, parse_budget
from regrow_exporter.stages import Part, Shown, Silent
from regrow_exporter.tables import accuracy, precision_table, score
from tests.runtime.test_progress import Clock, Terminal

SHAPES = {
    "stem.weight": (4, 1, 3, 3),
    "stem.bias": (4,),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "head.weight": (5, 4),
    "head.bias": (5,),
}


@pytest.mark.parametrize(
    ("text", "figure", "limit"),
    [
        ("64KiB", "peak_bytes", 65536),
        ("1.5 MB", "peak_bytes", 1_500_000),
        ("300", "peak_bytes", 300),
        ("delta:4KiB", "delta_bytes", 4096),
        ("5ms", "ms", 5.0),
        ("0.5 s", "ms", 500.0),
        ("250us", "ms", 0.25),
    ],
)
def test_a_budget_is_a_size_or_a_time(text, figure, limit):
    assert parse_budget(text) == Budget(figure, pytest.approx(limit), text)


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "5 parsecs", "delta:5ms", "peak:5KiB", "inf", "nan", "1e999", "."]
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(UnsupportedError, match="expected a size such as 64KiB"):
        parse_budget(text)


def test_candidates_are_the_kinds_and_their_unions_each_set_once():
    made = candidates(SHAPES, ())
    assert list(made) == ["@head", "@last:2", "@norm+bias", "@head @norm+bias", "*"]
    assert made["@head @norm+bias"] == tuple(n for n in SHAPES if n != "stem.weight")
    assert len(set(made.values())) == len(made)


def test_ones_own_patterns_name_the_set_that_a_kind_would_name_too():
    assert list(candidates(SHAPES, ["head.*"]))[:2] == ["head.*", "@last:2"]
    with pytest.raises(UnsupportedError, match="haed"):
        candidates(SHAPES, ["haed.*"])


def test_a_network_without_a_norm_or_bias_has_fewer_candidates():
    assert list(candidates({"a.weight": (2, 2), "b.weight": (2, 2)}, ())) == ["@head", "@last:2"]


def test_figures_are_written_for_people():
    assert score({"mean": 0.9123, "half_width": 0.008}, "accuracy") == "91.2 % ± 0.8"
    assert score({"mean": -1e-5, "half_width": None}, "accuracy") == "0.0 %"
    assert score({"mean": 0.01234, "half_width": 0.001}, "mse") == "0.01234 ± 0.001"
    assert accuracy("not measured: no episodes were given").startswith("not measured")
    made = {"mean": 0.5, "half_width": 0.1, "metric": "accuracy"}
    row = {
        "precision": "fp16",
        "weight_bytes": 1500,
        "before": made,
        "after": made,
        "drop": made,
        "chosen": True,
    }
    text = precision_table({"max_drop": 0.005, "judged_by": "the mean", "rows": [row]})
    assert "at most 0.5 points (the mean)" in text
    assert " ".join(text.splitlines()[-1].split()) == "* fp16 1.5 kB" + 3 * " 50.0 % ± 10.0"


def export_of(seconds, live):
    """What an export of that length shows."""
    stream, clock = Terminal(live), Clock()
    with Shown("export", stream, clock) as stages:
        for says, share in (("capturing", 0.0), ("verifying", 0.2), ("verifying", 0.6), ("packing", 0.8)):
            stages.at(says, share)
            clock.now += seconds / 4
        with stages.counted("measuring", 4) as told:
            for part in (Part(told, 0), Part(told, 2)):
                for done in (1, 2):
                    clock.now += seconds / 4
                    part.update(done, accuracy=0.5)
        stages.at("wrote", 1.0)
    return stream.getvalue()


def test_a_terminal_shows_one_bar_with_the_time_left_and_one_for_episodes():
    shown = export_of(20, live=True)
    first, second, end = shown.split("\n")
    assert "export: verifying  [" in first
    assert "20 s left" in first.split("\r")[1]  # 5 s for the first fifth
    assert "export: measuring  [" in second
    assert second.split("\r")[-1].startswith(f"export: measuring  [{'#' * 24}] 100%  4/4  accuracy 0.5")
    assert end == ""  # what is left takes no time, so it needs no bar


def test_a_short_export_shows_nothing_on_a_terminal():
    assert export_of(1, live=True) == ""


def test_a_log_gets_a_line_per_stage():
    lines = export_of(20, live=False).splitlines()
    assert [line.split("  ")[-1] for line in lines if " s  " in line] == [
        "capturing",
        "verifying",
        "packing",
        "wrote",
    ]
    assert any(line.startswith("export: measuring  100%  4/4") for line in lines)
    assert "\r" not in "".join(lines)


def test_python_callers_see_nothing(capsys):
    stages = Silent()
    stages.at("capturing", 0.5)
    with stages.counted("measuring", 3) as told:
        told.update(1, accuracy=0.5)
    assert capsys.readouterr() == ("", "")
