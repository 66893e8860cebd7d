"""The page for Prometheus keeps to its text format, version 0.0.4."""

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.serve import memory
from regrow.serve.metrics import HELP, SECONDS, Metrics

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')


def read(page: str) -> tuple[dict[str, str], dict[tuple[str, str], float]]:
    """Kinds by name, values by name and labels; every line has its kind before it."""
    kinds: dict[str, str] = {}
    values: dict[tuple[str, str], float] = {}
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            found = LINE.fullmatch(line)
            assert found is not None, line
            name = re.sub("_(bucket|sum|count)$", "", found[1])
            assert name in kinds, line
            assert (found[1], found[2] or "") not in values, line
            values[found[1], found[2] or ""] = float(found[3])
    return kinds, values


def test_figures_are_kept_in_full_and_texts_escaped() -> None:
    metrics = Metrics()
    metrics.count("regrow_predictions_total", 1_234_567)
    metrics.count("regrow_requests_total", route='a "b" \\ c\n')
    for seconds in (0.0005, 0.02, 0.02, 100.0):
        metrics.observe("regrow_adapt_seconds", seconds)
    kinds, values = read(metrics.render({"regrow_queue": {(): 3}}))
    assert values["regrow_predictions_total", ""] == 1_234_567
    assert values["regrow_requests_total", 'route="a \\"b\\" \\\\ c\\n"'] == 1
    buckets = [values["regrow_adapt_seconds_bucket", f'le="{bound:g}"'] for bound in SECONDS]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[SECONDS.index(0.025)], buckets[-1]) == (1, 3, 3)
    assert values["regrow_adapt_seconds_bucket", 'le="+Inf"'] == values["regrow_adapt_seconds_count", ""] == 4
    assert values["regrow_adapt_seconds_sum", ""] == pytest.approx(100.0405)
    assert (kinds["regrow_adapt_seconds"], kinds["regrow_queue"]) == ("histogram", "gauge")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory for long")
def test_freed_memory_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

    # Pieces too small for maps of their own, below one that stays.
    pieces = [bytearray(20_000) for _ in range(4000)]
    del pieces[:-1]
    held = resident()
    assert memory.give_back()
    assert resident() < held - 30_000


LARGE_BETWEEN_SMALL = """
import sys
from pathlib import Path
from regrow.serve import memory

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

assert sys.argv[1] == "alone" or memory.keep_small()
b"x" * 2**23  # from here on glibc by itself maps no block below that
large, small = [], []
for _ in range(50):
    large.append(b"x" * 2**20)
    small.append(b"x" * 20_000)
held = resident()
large.clear()
print(held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory for long")
def test_large_blocks_leave_no_gaps_behind() -> None:
    def freed(how: str) -> int:
        command = [sys.executable, "-c", LARGE_BETWEEN_SMALL, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert freed("kept small") > 45_000
    assert freed("alone") < 5_000  # or this test would say nothing


def test_the_page_of_a_service_in_use_is_whole(service: Any, give: Callable[..., None]) -> None:
    client = service.client()
    session = client.open("tiny")
    give(session)
    session.adapt()
    session.predict([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    kinds, values = read(client.send("GET", "/metrics").decode())
    assert kinds.keys() == HELP.keys()
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")
    assert values["regrow_adaptations_total", 'outcome="done"'] == 1
    assert values["regrow_rows", 'table="samples"'] == 20
