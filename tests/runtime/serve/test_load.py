"""Predictions while others learn: how many, how late, and in how much memory. Figures are printed (`-s`)."""

import http.client
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client, RemoteSession
from regrow.serve import memory
from tests.runtime.serve.process import Process

BODY = b'{"x": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]}'
HEAP = 64 * 2**20
LONG = 6000  # steps of an adaptation that takes a while


@dataclass
class Seen:
    """Seconds every prediction took, and when it ended."""

    took: list[float] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        return sorted(self.took)[int(share * (len(self.took) - 1))]


class Asker(threading.Thread):
    """Predicts as fast as it is answered, over one connection, until told to stop."""

    def __init__(self, url: str, session: str) -> None:
        super().__init__()
        self.url, self.path = url.removeprefix("http://"), f"/v1/sessions/{session}/predict"
        self.seen, self.enough = Seen(), threading.Event()
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.url, timeout=60)
        while not self.enough.is_set():
            began = time.perf_counter()
            connection.request("POST", self.path, BODY, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.seen.took.append(time.perf_counter() - began)
            if answer.status != 200:
                self.seen.wrong.append(answer.status)
        connection.close()

    def stop(self) -> Seen:
        self.enough.set()
        self.join()
        assert self.seen.wrong == []
        return self.seen


@pytest.fixture
def process(bundle: Path, tmp_path: Path) -> Iterator[Process]:
    made = Process(bundle, tmp_path / "data", tmp_path / "log", steps=10**6)
    yield made
    made.stop()


def taught(client: Client, give: Callable[..., None]) -> RemoteSession:
    session = client.open("tiny")
    give(session)
    return session


def test_predictions_do_not_wait_behind_an_adaptation(
    process: Process, give: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    learner, asked = taught(process.client, give), taught(process.client, give)
    asked.adapt()
    idle = Asker(process.url, asked.id)
    time.sleep(0.5)
    alone = idle.stop()
    busy = Asker(process.url, asked.id)
    began = time.perf_counter()
    learner.adapt(steps=LONG)
    elapsed = time.perf_counter() - began
    beside = busy.stop()
    with capsys.disabled():
        for name, seen, seconds in (("alone", alone, 0.5), ("beside an adaptation", beside, elapsed)):
            print(
                f"\n{name}: {len(seen.took) / seconds:.0f} predictions/s, median "
                f"{1e3 * statistics.median(seen.took):.1f} ms, p99 {1e3 * seen.quantile(0.99):.1f} ms",
                end="",
            )
    # Were they queued behind it, one would have taken as long as the rest of the adaptation.
    assert elapsed > 0.5
    assert len(beside.took) > 20
    assert max(beside.took) < elapsed / 4


def heaps(pid: int) -> int:
    """glibc's heaps beside the first: each reserves 64 MB on such a border and opens the beginning."""
    borders = [tuple(int(word, 16) for word in span.split("-")) for span in spans(pid)]
    ends = dict(borders)
    return sum(start % HEAP == 0 and ends.get(end) == start + HEAP for start, end in borders)


def spans(pid: int) -> list[str]:
    return [line.split()[0] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has heaps of threads")
def test_threads_share_a_heap(process: Process, give: Callable[..., None]) -> None:
    session = taught(process.client, give)
    session.adapt()
    askers = [Asker(process.url, session.id) for _ in range(8)]
    session.adapt(steps=2000)
    seen = heaps(process.child.pid)
    for asker in askers:
        asker.stop()
    assert seen == memory.HEAPS - 1


@pytest.mark.slow
def test_ten_minutes_of_use_take_no_more_memory_than_one(
    process: Process,
    give: Callable[..., None],
    tiny: ModuleType,
    capsys: pytest.CaptureFixture[str],
    query: Any,
) -> None:
    client = process.client
    sessions = [taught(client, give) for _ in range(4)]
    askers = [Asker(process.url, sessions[0].id) for _ in range(2)]
    began, adaptations, levels = time.monotonic(), 0, list[tuple[float, int, int]]()
    while (now := time.monotonic() - began) < 600:
        for session in sessions:
            session.adapt(steps=5, start="bundle")
            adaptations += 1
        extra = taught(client, give)
        extra.adapt()
        saved = extra.save("passing")
        extra.erase()
        client.erase_delta(saved.id)
        stored = sum(path.stat().st_size for path in process.log.with_name("data").iterdir())
        levels.append((now, process.memory(), stored))
    seen = [asker.stop() for asker in askers]
    warm = [level for level in levels if level[0] > 60]
    grown = warm[-1][1] - warm[0][1]
    answered = sum(len(one.took) for one in seen)
    with capsys.disabled():
        print(
            f"\n600 s: {adaptations} adaptations, {answered} predictions ({answered / 600:.0f}/s, p99 "
            f"{1e3 * max(one.quantile(0.99) for one in seen):.1f} ms), memory {warm[-1][1] / 1e6:.0f} MB "
            f"({grown / 1e6:+.1f} MB in nine minutes), stored {warm[-1][2] / 1e6:.1f} MB"
        )
    assert grown < 10e6
    assert warm[-1][2] < 2 * warm[0][2]
