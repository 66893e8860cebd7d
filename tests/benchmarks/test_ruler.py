"""What the suite makes of its answers, without running it: arithmetic, origin, counters, energy, pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import allocations, energy, gpu_page, origin, suite_page, suite_table
from benchmarks.figures import noise, wide
from benchmarks.peers.counters import Instructions
from benchmarks.workloads import Work, flops, least, prepared
from regrow.bench.peers import Child

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "benchmarks" / "results" / "suite.json"


def test_the_least_work_is_that_of_backpropagation_less_what_nobody_needs() -> None:
    dense = prepared(Work("W1", "dense", "all"))
    forward = flops(dense.layers, dense.shape)
    first = 2 * 64 * 28 * 28 * 9  # of one sample: nobody needs the gradient of the images
    assert least(Work("W1", "dense", "all"))[0] == 5 * 5 * (3 * forward - first)
    head = 2 * 64 * 5
    # the frozen body once, then five steps of the head: forward and its weights' gradient
    assert least(Work("W1", "dense", "head"))[0] == pytest.approx(5 * (forward - head + 5 * 2 * head))
    kept, full = (least(Work("W1", "90 %", chosen)) for chosen in ("kept", "all"))
    assert kept[0] == pytest.approx(0.1 * full[0], rel=0.01)
    assert kept[1] < 0.3 * least(Work("W1", "dense", "all"))[1]


def test_code_that_measures_is_told_from_code_that_shows(tmp_path: Path) -> None:
    for name in ("runtime/regrow/session.py", "benchmarks/suite_page.py", "benchmarks/peers/x.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a = 1\n", encoding="utf-8")
    for name in origin.MEASURING:
        (tmp_path / "benchmarks" / f"{name}.py").touch()
    before = origin.sources(tmp_path)
    (tmp_path / "benchmarks" / "suite_page.py").write_text("a = 2\n", encoding="utf-8")
    assert origin.sources(tmp_path) == before
    (tmp_path / "runtime" / "regrow" / "session.py").write_text("a = 2\n", encoding="utf-8")
    assert origin.sources(tmp_path) != before


def test_a_result_of_several_commits_says_so() -> None:
    cases = [{"name": n, "commit": c, "sources": s} for n, c, s in (("a", "1", "x"), ("b", "2", "x"))]
    made: dict[str, Any] = {"machine": {"commit": "1"}, "cases": cases}
    assert origin.differing(made, "x") == []
    assert origin.differing(made, "y") == ["a", "b"]
    assert "same in all" in origin.told(made)
    cases[1]["sources"] = "y"
    assert origin.told(made) == "Commits 1: a; 2: b (with different code)"


def test_energy_is_read_from_a_counter_that_starts_over(tmp_path: Path) -> None:
    assert energy.counters(tmp_path) == []
    folder = tmp_path / "class" / "powercap" / "intel-rapl:0"
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text("10000000\n", encoding="ascii")
    (folder / "energy_uj").write_text("9000000\n", encoding="ascii")
    held = energy.counters(tmp_path)
    joules, calls = energy.used(held, lambda: (folder / "energy_uj").write_text("2000000"), seconds=0)
    assert (joules, calls) == (3.0, 1)


def test_what_the_system_counts_of_a_process_is_read() -> None:
    counter = Instructions(
        kind=1, what=1
    )  # processor time in software, which is open where hardware's is not
    if counter.read() is None:
        pytest.skip("this system opens no counters to a process")
    before = counter.read()
    assert before is not None
    np.sort(np.random.default_rng(0).random(200_000))
    after = counter.read()
    assert after is not None
    assert after > before


def test_live_allocations_are_counted(tmp_path: Path) -> None:
    env = allocations.environment(tmp_path)
    if not env:
        pytest.skip("no compiler, or another C library than glibc")
    code = (
        "import numpy as np; from benchmarks.peers.counters import allocations; a = allocations(); a.mark()\n"
        "held = np.ones(1 << 20, np.uint8); del held; held = np.ones(3 << 20, np.uint8); print(a.most())"
    )
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env | paths, capture_output=True, text=True, check=True
    )
    assert 3 << 20 <= int(done.stdout) < 3.2 * (1 << 20)


def test_a_peer_that_says_nothing_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"said nothing for 0\.2 s"):
        Child("still", [sys.executable, "-c", "import time; time.sleep(60)"], {}, patience=0.2)


def figure(*values: float) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {
        "median": float(p50),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p95),
        "count": len(values),
    }


def test_noise_is_of_the_times_that_are_shown() -> None:
    quiet, loud = figure(1.0, 1.0, 1.01), figure(1.0, 1.0, 9.0)
    found = {"peers": {"a": {"error": 0, "adapt_ms": loud, "adapt_ms_cpu": quiet}}}
    assert noise(found, 1) < 0.05 < 1 < noise(found, 2)
    assert wide(loud)
    assert not wide(quiet)


@pytest.fixture
def record() -> dict[str, Any]:
    if not SUITE.exists():
        pytest.skip("no checkout: the record is not here")
    found: dict[str, Any] = json.loads(SUITE.read_text(encoding="utf-8"))
    return found


def test_every_measured_row_has_its_share_of_the_roofline(record: dict[str, Any]) -> None:
    at = suite_table.COLUMNS.index("of roofline")
    for case in record["cases"]:
        for row in suite_table.rows(case, record):
            if row.figures:
                assert len(row.figures) == len(suite_table.COLUMNS)
                assert 0 < float(row.figures[at].rstrip("%")) < 100, (case["name"], row.peer)


def test_a_noisy_case_is_said_to_be(record: dict[str, Any]) -> None:
    assert "Too noisy" not in suite_page.page(record)
    record["cases"][0]["noise"] = 0.4
    for text in (suite_page.page(record), suite_page.markdown(record)):
        assert "Too noisy for three digits: the 95th percentile lies 40% above the median" in text


def test_a_run_on_all_cores_stands_beside_the_other(record: dict[str, Any]) -> None:
    assert suite_page.NOT_MEASURED in suite_page.markdown(record)
    both = suite_page.markdown(record, record | {"threads": 2})
    assert suite_page.NOT_MEASURED not in both
    assert "regrow's own core uses one" in both
    assert "2 threads of each peer" in both
    assert suite_page.NOT_MEASURED not in suite_page.page(record, record | {"threads": 2})


def made_up(name: str, users: int, latency: float, joules: float | None) -> dict[str, Any]:
    times = {"median": latency, "low": latency, "high": latency, "count": 9}
    row = {"name": name, "users": users, "status": "measured", "error": 1e-6, "latency_ms": times}
    return row | {"users_per_second": users / latency, "memory_bytes": 5e8, "joules_per_user": joules}


# Every figure here is made up; no GPU has a part in it.
MADE_UP: dict[str, Any] = {
    "machine": {"gpu": "made up", "date": "never", "commit": None, "versions": {"torch": "0"}},
    "cases": [
        {
            "workload": "W1",
            "support": 5,
            "variants": [
                made_up("CUDA graph", 1, 4.0, 0.5),
                {"name": "torch.compile", "status": "refused", "reason": "<broken>"},
                *(made_up(f"{n} users at once", n, 10.0 + n, 1.0 / n) for n in (1, 4, 16)),
            ],
        }
    ],
}


def test_a_crossover_is_drawn_and_put_in_words() -> None:
    (case,) = MADE_UP["cases"]
    drawn = ElementTree.fromstring(
        re.sub(r"=([^'\s>/]+)(?=[\s>/])", r"='\1'", gpu_page.latency_plot(case, 30.0))
    )
    lines = drawn.findall("polyline")
    assert len(lines) == len(gpu_page.TRIPS)
    assert len(drawn.findall("line")) == 1
    assert [t.text for t in drawn.findall("text")].count("GPU, 60 ms away") == 1
    assert len(lines[0].attrib["points"].split()) == 3
    # 4 ms is the soonest there, by the graph: 26 ms are left for the way
    assert gpu_page._sentence(case, 30.0).endswith("round trip is below 26 ms.")
    assert "at any distance" in gpu_page._sentence(case, 3.0)
    assert gpu_page._sentence(case, None) == "On the device: not measured."


def test_energy_is_drawn_where_it_was_read() -> None:
    (case,) = MADE_UP["cases"]
    assert "joules" in gpu_page.energy_plot(case)
    unread = case | {"variants": [row | {"joules_per_user": None} for row in case["variants"]]}
    assert "not measured" in gpu_page.energy_plot(unread)


def test_without_a_gpu_cells_say_not_measured() -> None:
    assert "not measured" in gpu_page.section(None)
    assert "not measured" in gpu_page.markdown(None)[0]
    text = gpu_page.section(MADE_UP)
    assert "&lt;broken&gt;" in text
    assert "<p>not measured</p>" in text  # meta-training, which this record lacks
    assert any("| CUDA graph | 4 |" in line for line in gpu_page.markdown(MADE_UP))
