"""What learning costs on a Cortex-M: flash, RAM, stack, and instructions per step, counted in QEMU.

python -m benchmarks.metal                # build and measure everything, write benchmarks/results/metal.json
python -m benchmarks.metal --only mlp     # measure again what begins so, and keep the rest
python -m benchmarks.metal --table        # write the tables of docs/metal.md from it

An instruction count says nothing of wait states or of how many instructions a core starts in a cycle: it is
the same on every machine, so it shows when a change makes a plan or a kernel worse.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.metal_table import write_page
from benchmarks.networks import WAYS, Separable, Signal
from regrow_exporter import export
from regrow_exporter.c_writer import write_c
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "results" / "metal.json"
SAMPLES, LR = 5, 0.05


class Keywords(nn.Module):
    """Depthwise-separable layers over a second of spoken sound: 50 frames of 10 coefficients."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv1d(10, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(width, track_running_stats=False)
        self.blocks = nn.ModuleList(Separable(width, width, stride) for stride in (2, 1, 2, 1))
        self.head = nn.Linear(width, WAYS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(x.mean(-1)))


Make = Callable[[], nn.Module]
NETWORKS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "conv4, 8 filters": (lambda: Conv4((1, 28, 28), WAYS, 8), (1, 28, 28)),
    "conv4, 32 filters": (lambda: Conv4((1, 28, 28), WAYS, 32), (1, 28, 28)),
    "mlp 40-64-64": (lambda: MLP((40,), WAYS, (64, 64)), (40,)),
    "signal, 1-D": (Signal, (6, 128)),
    "keywords, separable 1-D": (Keywords, (10, 50)),
}
SPARSITIES = (0.0, 0.9)
BOARDS = ("m4", "m7", "m55")
FLAGS = ("-Os", "-O2")
CORE = ("regrow/core.o", "regrow/regrow.o", "regrow/slots.o")


def write_model(name: str, sparsity: float, path: Path) -> Path:
    """The bundle of one network, everything adaptable, a share of its weights pruned at random."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module, generator = make(), torch.Generator().manual_seed(3)
    masks = {}
    for tensor, p in module.named_parameters():
        if sparsity and p.ndim > 1 and "head" not in tensor:
            masks[tensor] = torch.rand(p.shape, generator=generator) >= sparsity
            masks[tensor].view(-1)[0] = True
            p.data.mul_(masks[tensor])
    example = torch.rand(8, *shape, generator=generator)
    export(module, example, adaptable=["*"], lr=LR, masks=masks or None, path=path)
    return path


def run(folder: Path, target: str, flags: str) -> str:
    """Build and run a target of the folder's Makefile."""
    command = ["make", "-s", "-C", str(folder), target, f"ARM_CFLAGS={flags}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def sizes(text: str) -> dict[str, dict[str, int]]:
    """Bytes by object file and kind of section, of what a linker's map says was linked."""
    linked = text[text.index("Linker script and memory map") :]
    pattern = re.compile(r"^ \.(text|rodata|data|bss)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+)$", re.M)
    made: dict[str, dict[str, int]] = {}
    for kind, size, path in pattern.findall(linked):
        name = re.sub(r"^build/[^/]+/", "", path)
        name = name if name.endswith(".o") and "/usr/" not in name else "library"
        made.setdefault(name, {}).setdefault(kind, 0)
        made[name][kind] += int(size, 16)
    return made


def measured(folder: Path, board: str, flags: str) -> dict[str, int]:
    """Of one model on one board: instructions, stack, and bytes where they lie."""
    run(folder, "clean", flags)
    counts = dict(re.findall(r"^(\w+) (\d+)$", run(folder, f"measure-{board}", flags), re.M))
    run(folder, board, flags)
    parts = sizes((folder / "build" / board / "main.map").read_text())
    core = [parts.get(name, {}) for name in CORE]
    header = (folder / "model.h").read_text()
    arena = re.search(r"MODEL_ARENA_BYTES +(\d+)u", header)
    assert arena is not None
    return {
        **{name: int(count) for name, count in counts.items()},
        "core_text": sum(p.get("text", 0) for p in core),
        "core_rodata": sum(p.get("rodata", 0) for p in core),
        "model_text": parts["model.o"].get("text", 0),
        "model_rodata": parts["model.o"].get("rodata", 0),
        "model_data": parts["model.o"].get("data", 0),
        "model_bss": parts["model.o"].get("bss", 0),
        "arena": int(arena.group(1)),
    }


def record_all(names: Iterable[str]) -> dict[str, Any]:
    """Every model on every board."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            for sparsity in SPARSITIES:
                folder = Path(scratch, f"{len(rows)}")
                write_c(write_model(name, sparsity, folder.with_suffix(".regrow")), folder, SAMPLES)
                for board in BOARDS:
                    for flags in FLAGS:
                        made = measured(folder, board, flags)
                        row = {"network": name, "sparsity": sparsity, "board": board, "flags": flags}
                        rows.append(row | made)
                        print(rows[-1], flush=True)
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "samples": SAMPLES, "tools": tools(), "rows": rows}


def tools() -> dict[str, str]:
    """What built and counted."""
    made = {}
    for name in ("arm-none-eabi-gcc", "qemu-system-arm"):
        done = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout)
        made[name] = found.group(0) if found else "unknown"
    return made


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", metavar="NETWORK", default="", help="measure again what begins so")
    parser.add_argument("--table", action="store_true", help="only write the tables of docs/metal.md")
    args = parser.parse_args()
    if not args.table:
        names = [name for name in NETWORKS if name.startswith(args.only)]
        made = record_all(names)
        if len(names) < len(NETWORKS):
            before = json.loads(RECORD.read_text())
            if before["tools"] != made["tools"]:
                raise SystemExit(
                    f"metal: recorded with {before['tools']}, found {made['tools']}; measure all"
                )
            made["rows"] += [row for row in before["rows"] if row["network"] not in names]
        made["rows"].sort(key=lambda row: (list(NETWORKS).index(row["network"]), row["sparsity"]))
        RECORD.write_text(json.dumps(made, indent=1) + "\n")
    write_page(json.loads(RECORD.read_text()))


if __name__ == "__main__":
    main()
