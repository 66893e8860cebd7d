"""What an exported adaptation takes on stock onnxruntime, beside eager torch, turn by turn in one run.

python -m benchmarks.export_speed --onnxsim conv4-25.onnx > benchmarks/results/export_speed.json
python -m benchmarks.export_speed --table > docs/speed.md

Five steps of SGD, one thread. Both sides start from the exported weights and end with the adapted parameters
and the loss and statistics after the last step. Every figure is the median of pairwise ratios, with its 95 %
interval; thread time, unless it says wall. `benchmarks.onnxsim_step` makes the file for `--onnxsim`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import regrow
from benchmarks.eager import Eager
from benchmarks.networks import NETWORKS, WAYS, Network, ResNet12
from benchmarks.peer_step import PeerStep
from benchmarks.speed_table import document
from regrow import selftest
from regrow.bench.machine import describe, load
from regrow.bench.stats import Spread, ratios, spread
from regrow.engines import Engine
from regrow.engines.onnx import OnnxEngine
from regrow.model import Model
from regrow.progress import track
from regrow_exporter import export

RESULTS = Path(__file__).resolve().parent / "results" / "export_speed.json"
STEPS, RATE = 5, 0.01
SETS = ("all", "last", "head")
BATCHES = (5, 25)
# A pair is repeated for about so many seconds, within these bounds.
SECONDS, FEWEST, MOST = 3.0, 5, 40
# What an export may lose: so many times what torch loses in fp32, or the floor where that is larger. The
# floor is wide: one ReLU that falls the other way turns up to a twentieth of a fresh network's update, in
# torch as well; a wrong gradient turns far more. The export itself was proven in fp64.
FACTOR, FLOOR = 8.0, 1e-1
Turn = Callable[[], None]


def patterns(network: Network, chosen: str) -> list[str]:
    """The adaptable parameters of a set."""
    return {"all": ["*"], "last": [network.last, "head.*"], "head": ["head.*"]}[chosen]


class Subject:
    """An exported network on the onnx engine, and one support set."""

    def __init__(self, model: Model, network: Network, batch: int) -> None:
        self.engine: Engine = model.engine
        self.params = {p.name: model.bundle.params[p.name] for p in model.adaptable}
        self.x, self.y = selftest.episode(7, batch, WAYS, network.shape)
        self.active = np.ones(WAYS, np.bool_)

    def adapt(self) -> dict[str, Any]:
        """The parameters after all steps."""
        return self.engine.adapt(self.x, self.y, self.active, self.params, {}, STEPS).params

    def run(self) -> None:
        """The same as a turn, which returns nothing."""
        self.adapt()


def timed(turn: Turn) -> tuple[float, float]:
    """Milliseconds of this thread and of the wall."""
    wall, thread = time.perf_counter(), time.thread_time()
    turn()
    return (time.thread_time() - thread) * 1e3, (time.perf_counter() - wall) * 1e3


def interleaved(turns: dict[str, Turn], seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Rounds in which every subject has its turn, the order reversed each time."""
    for turn in turns.values():
        turn()
    once = sum(timed(turn)[1] for turn in turns.values()) / 1e3
    rounds = int(min(MOST, max(FEWEST, seconds / once)))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for i in range(rounds):
        for name in list(turns)[:: 1 if i % 2 else -1]:
            taken[name].append(timed(turns[name]))
    return taken


def compared(taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """regrow against each other subject."""
    mine = taken.pop("regrow")
    columns: tuple[Spread, ...] = tuple(spread([t[i] for t in mine]) for i in (0, 1))
    found: dict[str, Any] = {"regrow": {"ms": columns[0].to_json(), "wall_ms": columns[1].to_json()}}
    for name, other in taken.items():
        by = [ratios([t[i] for t in mine], [t[i] for t in other]).to_json() for i in (0, 1)]
        found[name] = {"ms": spread([t[0] for t in other]).to_json(), "ratio": by[0], "wall_ratio": by[1]}
    return found


def measure(name: str, chosen: str, folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """Both batches of one network and set."""
    network = NETWORKS[name]
    path = folder / f"{name}-{chosen}.regrow"
    settings: dict[str, Any] = {"adaptable": patterns(network, chosen), "lr": RATE, "steps": STEPS}
    x, _ = selftest.episode(3, 6, WAYS, network.shape)
    export(network.build().train(), torch.from_numpy(x), path=path, **settings)
    model = regrow.open(path, engine=OnnxEngine.name)
    for batch in BATCHES:
        subject = Subject(model, network, batch)
        eager = Eager(network.build().train(), tuple(subject.params), subject.x, subject.y, STEPS, RATE)
        turns: dict[str, Turn] = {"regrow": subject.run, "torch": eager.adapt}
        if chosen == "all":
            turns["torch, five steps only"] = eager.steps_only
        if chosen == "all" and len(network.shape) == 3:
            turns["torch, channels last"] = eager.channels_last().adapt
        if chosen == "head":
            turns["torch, features kept"] = eager.features_kept
        error, lost = eager.errors(subject.adapt())
        if error > max(FACTOR * lost, FLOOR):
            raise SystemExit(f"{name}, {chosen}, {batch}: off by {error:.1e}, torch by {lost:.1e}; not timed")
        figures = compared(interleaved(turns, seconds))
        yield {
            "network": name,
            "adaptable": chosen,
            "batch": batch,
            "error": error,
            "torch_error": lost,
            **figures,
        }


def against_peer(file: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Conv4, everything adaptable, against the step graph of onnxsim on the same onnxruntime."""
    network, path = NETWORKS["conv4"], folder / "conv4-all.regrow"
    peer = PeerStep(Path(file).read_bytes(), network.build(), STEPS, RATE)
    model = regrow.open(path, engine=OnnxEngine.name)
    subject = Subject(model, network, peer.batch)
    peer.take(subject.x, subject.y)
    turns: dict[str, Turn] = {"regrow": subject.run, "onnxsim": peer.adapt}
    figures = compared(interleaved(turns, seconds))
    return {"version": peer.version, "batch": peer.batch, **figures}


def exports(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds to export everything of Conv4-64 and of ResNet-12 at full width."""
    made: dict[str, dict[str, float]] = {}
    large = Network(ResNet12, (3, 84, 84), "blocks.3.*")
    for name, network in (("conv4", NETWORKS["conv4"]), ("resnet12 at full width", large)):
        x, _ = selftest.episode(3, 6, WAYS, network.shape)
        wall, processor = time.perf_counter(), time.process_time()
        export(network.build().train(), torch.from_numpy(x), adaptable=["*"], path=folder / "timed.regrow")
        took = time.perf_counter() - wall, time.process_time() - processor
        made[name] = {"seconds": round(took[0], 1), "processor_seconds": round(took[1], 1)}
    return made


def record(names: Sequence[str], onnxsim: str | None, seconds: float) -> dict[str, Any]:
    """Everything, as plain data."""
    machine = describe()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cases = [(name, chosen) for name in names for chosen in SETS]
        rows = [
            row for name, chosen in track(cases, "networks") for row in measure(name, chosen, folder, seconds)
        ]
        peer = against_peer(onnxsim, folder, seconds) if onnxsim else None
        timings = exports(folder)
    machine["load_after"] = load()
    return {"machine": machine, "steps": STEPS, "rows": rows, "onnxsim": peer, "export": timings}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print JSON, or write the table of what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print docs/speed.md from the recorded results")
    parser.add_argument("--only", nargs="+", choices=tuple(NETWORKS), default=tuple(NETWORKS))
    parser.add_argument("--onnxsim", metavar="FILE", help="what benchmarks.onnxsim_step wrote")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per network, set and batch")
    args = parser.parse_args(argv)
    if args.table:
        sys.stdout.write(document(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return 0
    json.dump(record(args.only, args.onnxsim, args.seconds), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
