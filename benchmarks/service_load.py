"""`python -m benchmarks.service_load`: predictions through the service, alone and beside adaptations.

A Conv4-32 on 28 x 28 images in a process of its own; clients predict one image at a time over one connection
each, as fast as they are answered. Rounds with and without another session that learns all the while take
turns, so that other work on the machine meets both. Writes benchmarks/results/service.json, and from it the
table in docs/service.md (`--table` for the table alone).
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import service_table
from regrow.bench import machine
from regrow.client import NPY, Client, RemoteSession

# As `regrow serve` starts it, without the limit of requests per client: all of ours come from one.
SERVE = """
import sys
from regrow.serve.limits import Limits
from regrow.serve.run import Settings, serve
limits = Limits(requests_per_second=1e6, burst=10**6)
serve(Settings(bundles=[sys.argv[1]], data=sys.argv[2], port=0, limits=limits))
"""
SHAPE, WAYS, SHOTS, STEPS = (1, 28, 28), 5, 5, 50


def write_bundle(path: Path) -> None:
    """The network that is served; its weights are those it begins with, which costs the same."""
    import torch

    from regrow_exporter import export
    from regrow_trainer.backbones.conv4 import Conv4

    torch.manual_seed(0)
    module = Conv4(SHAPE, WAYS, 32, 4)
    export(module, torch.rand(16, *SHAPE), adaptable=["*"], lr=0.01, steps=STEPS, path=path)


@contextmanager
def serving(bundle: Path, data: Path) -> Iterator[str]:
    """A service in a process of its own; its address."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(bundle), str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        yield child.stdout.readline().split(" on ")[1].strip().rstrip("/")
    finally:
        child.terminate()
        child.communicate(timeout=60)


def npy(x: Any) -> bytes:
    """An array as the body of a request."""
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


class Asker(threading.Thread):
    """Predicts until told to stop; seconds of every prediction."""

    def __init__(self, url: str, session: str, stop: threading.Event) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._path, self._stop_at = f"/v1/sessions/{session}/predict", stop
        self.took: list[float] = []

    def run(self) -> None:
        """Ask."""
        body = npy(np.random.default_rng(0).random(SHAPE, np.float32))
        while not self._stop_at.is_set():
            began = time.perf_counter()
            self._connection.request("POST", self._path, body, {"content-type": NPY})
            answer = self._connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"a prediction was answered with {answer.status}")
            self.took.append(time.perf_counter() - began)
        self._connection.close()


class Learner(threading.Thread):
    """Adapts a session again and again; milliseconds of every adaptation."""

    def __init__(self, session: RemoteSession, stop: threading.Event) -> None:
        super().__init__()
        self._session, self._stop_at = session, stop
        self.took: list[float] = []

    def run(self) -> None:
        """Learn."""
        while not self._stop_at.is_set():
            self.took.append(self._session.adapt(start="bundle").elapsed_ms)


def taught(client: Client) -> RemoteSession:
    """A session that has learned."""
    session, rng = client.open("load"), np.random.default_rng(0)
    for label in range(WAYS):
        session.add(f"class {label}", npy(rng.random((SHOTS, *SHAPE), np.float32)), NPY)
    session.adapt()
    return session


def phase(
    url: str, asked: str, learner: RemoteSession | None, clients: int, seconds: float
) -> dict[str, Any]:
    """One round: what the clients saw, and how many adaptations ended meanwhile."""
    stop = threading.Event()
    askers = [Asker(url, asked, stop) for _ in range(clients)]
    learning = [Learner(learner, stop)] if learner is not None else []
    began = time.perf_counter()
    for thread in (*askers, *learning):
        thread.start()
    time.sleep(seconds)
    stop.set()
    for asker in askers:
        asker.join()
    elapsed = time.perf_counter() - began
    for one in learning:
        one.join()
    took = [second for asker in askers for second in asker.took]
    return {"seconds": elapsed, "took": took, "adaptations": [ms for one in learning for ms in one.took]}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """All rounds of a kind together."""
    took = sorted(1e3 * second for one in rounds for second in one["took"])
    learned = [ms for one in rounds for ms in one["adaptations"]]
    return {
        "predictions": len(took),
        "per_second": len(took) / sum(one["seconds"] for one in rounds),
        "median_ms": statistics.median(took),
        "p99_ms": took[int(0.99 * (len(took) - 1))],
        "max_ms": took[-1],
        "adaptations": len(learned),
        "adaptation_ms": statistics.median(learned) if learned else None,
    }


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Alone and beside adaptations, with one client and with four, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "load.regrow"
        write_bundle(bundle)
        with serving(bundle, Path(folder) / "data") as url:
            client = Client(url)
            asked, learner = taught(client), taught(client)
            kinds = [(clients, beside) for clients in (1, 4) for beside in (False, True)]
            seen: dict[tuple[int, bool], list[dict[str, Any]]] = {kind: [] for kind in kinds}
            for _ in range(rounds):
                for clients, beside in kinds:
                    found = phase(url, asked.id, learner if beside else None, clients, seconds)
                    seen[clients, beside].append(found)
            engine = client.models()[0]["engine"]
    return {
        "model": f"Conv4-32, 28 x 28, {WAYS * SHOTS} samples, {STEPS} steps",
        "engine": engine,
        "rounds": rounds,
        "seconds": seconds,
        "results": [
            {"clients": clients, "beside_adaptations": beside, **summary(found)}
            for (clients, beside), found in seen.items()
        ],
    }


def main() -> int:
    """Measure, keep, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--table", action="store_true", help="only write the table of the kept figures")
    args = parser.parse_args()
    if not args.table:
        described = machine.describe()
        record = {
            "machine": described,
            "command": " ".join(["python -m benchmarks.service_load", *sys.argv[1:]]),
        }
        record |= measure(args.rounds, args.seconds)
        described["load_after"] = machine.load()
        service_table.RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    service_table.write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
