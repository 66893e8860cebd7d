"""`python -m benchmarks.instructions OUT.json`: how many instructions the native core takes, to the last one.

Counted under valgrind, around the core's one entry: neither Python nor the clock has a part in it, so that
counts are the same on a busy machine and a regression shows in a test. Valgrind knows no AVX-512: the core
takes its AVX2 kernels there, whatever the machine has. Counts compare between equal compilers only.

The cases are committed (`benchmarks/cases`); `--make` writes them anew, which takes torch.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import regrow
from regrow import selftest
from regrow.bench import machine
from regrow.engines import core
from regrow.errors import UnsupportedError

ROOT = Path(__file__).resolve().parent.parent
CASES = Path(__file__).with_name("cases")
RECORD = Path(__file__).with_name("results") / "instructions.json"
FORMAT = 1
WAYS, STEPS = 5, 5
# Bundle -> samples it adapts to.
SUPPORT = {"mlp-40-64-64-5": 25, "conv4-16-dense": 5, "conv4-16-pruned": 5}

# Counting begins and ends at the call: everything the core calls counts, nothing that calls it.
_HELPER = r"""
#include <stddef.h>
#include <stdint.h>
#include <valgrind/callgrind.h>
typedef int (*run_function)(const void *, size_t, void *, size_t, uint32_t);
int counted(const char *name, run_function run,
            const void *plan, size_t words, void *blocks, size_t count, uint32_t steps)
{
    int status;
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    status = run(plan, words, blocks, count, steps);
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
    return status;
}
"""
_TRIGGER = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def lacking() -> str:
    """Why nothing can be counted here; empty where it can."""
    if not core.PATH.exists():
        return "the native core is not built"
    for tool in ("valgrind", "cc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    probe = subprocess.run(
        ["cc", "-E", "-xc", "-"], input="#include <valgrind/callgrind.h>\n", capture_output=True, text=True
    )
    return "" if probe.returncode == 0 else "valgrind's headers are not installed"


def compiler() -> str:
    """What compiles the core, in one line."""
    done = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def measure() -> dict[str, Any]:
    """The record: counts by "case, what", and what they depend on."""
    if reason := lacking():
        raise UnsupportedError(f"instructions: {reason}, expected it; apt install valgrind gcc")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "helper.c").write_text(_HELPER, encoding="utf-8")
        library = folder / "helper.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, folder / "helper.c"], check=True)
        line = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        line += [sys.executable, "-m", "benchmarks.instructions", "--count", str(library)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnsupportedError(
                f"instructions: valgrind ended with {done.returncode}: {done.stderr[-500:]}"
            )
        counts = [parse(path.read_text(encoding="utf-8")) for path in folder.glob("out*")]
        width = done.stdout.strip()
    return {
        "format": FORMAT,
        "instructions": dict(sorted(entry for entry in counts if entry is not None)),
        "width": width,
        "compiler": compiler(),
        "machine": machine.describe(),
    }


def parse(text: str) -> tuple[str, int] | None:
    """What was counted and how many, from a file of callgrind's; None for the one it writes at the end."""
    trigger, total = _TRIGGER.search(text), _TOTAL.search(text)
    return (trigger[1], int(total[1])) if trigger and total else None


def _count(library: str) -> None:
    """The process that valgrind watches: every case adapts and predicts once, and says the core's width."""
    helper = ctypes.CDLL(library)
    for name, samples in SUPPORT.items():
        model = regrow.open(CASES / f"{name}.regrow", engine="native")
        bundle = model.bundle
        x, y = selftest.episode(1, samples, WAYS, model.input.shape)
        params = {p.name: bundle.params[p.name] for p in model.adaptable}
        adapt = (x, y, np.ones(WAYS, np.bool_), params, bundle.state, STEPS)
        with _Counting(helper, f"{name}, adapt"):
            adapted = model.engine.adapt(*adapt)
        with _Counting(helper, f"{name}, predict"):
            model.engine.predict(x[:1], adapted.params, adapted.statistics)
    print(list(core.names("width"))[core.library().regrow_width()])


class _Counting:
    """Puts the helper between the engine and the core."""

    def __init__(self, helper: ctypes.CDLL, name: str) -> None:
        self._library, self._right = core.library(), core.library().regrow_run
        counted = helper.counted
        counted.argtypes = (ctypes.c_char_p, ctypes.c_void_p, *self._right.argtypes)
        run = ctypes.cast(self._right, ctypes.c_void_p)
        self._counted: Callable[..., int] = lambda *args: counted(name.encode(), run, *args)

    def __enter__(self) -> None:
        vars(self._library)["regrow_run"] = self._counted

    def __exit__(self, *_: object) -> None:
        vars(self._library)["regrow_run"] = self._right


def make() -> None:
    """Write the committed cases."""
    import torch

    from regrow_exporter import export
    from regrow_trainer.backbones.conv4 import Conv4
    from regrow_trainer.backbones.mlp import MLP

    CASES.mkdir(exist_ok=True)
    for name in SUPPORT:
        torch.manual_seed(0)
        module = MLP((40,), WAYS, (64, 64)) if name.startswith("mlp") else Conv4((1, 28, 28), WAYS, 16, 4)
        shape = (40,) if name.startswith("mlp") else (1, 28, 28)
        masks = {}
        for key, p in module.named_parameters():
            if name.endswith("pruned") and p.ndim == 4:
                masks[key] = torch.rand_like(p) >= 0.9
                p.data.mul_(masks[key])
        example = torch.from_numpy(selftest.episode(0, 16, WAYS, shape)[0])
        settings: dict[str, Any] = {"adaptable": ["*"], "steps": STEPS, "masks": masks or None}
        export(module, example, path=CASES / f"{name}.regrow", name=name, **settings)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", nargs="?", help="where the JSON goes")
    parser.add_argument("--make", action="store_true", help="write the cases anew first (needs torch)")
    parser.add_argument("--count", metavar="LIBRARY", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        _count(args.count)
        return 0
    if args.make:
        make()
    if args.output:
        record = measure()
        Path(args.output).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for name, count in record["instructions"].items():
            print(f"{count:>12,}  {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
