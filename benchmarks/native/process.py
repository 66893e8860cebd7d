"""What a process pays: from its start to the first adapted prediction, and memory above numpy's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from regrow.bench.stats import spread

_COLD = """
import sys
import numpy as np
import regrow
session = regrow.open(sys.argv[1], engine="native").session()
x = np.load(sys.argv[2])
session.adapt(x, np.arange(len(x)) % 5)
session.predict(x[:1])
"""
_MEMORY = """
import json, sys
import numpy as np
def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
x = np.load(sys.argv[2])
before = peak()
import regrow
session = regrow.open(sys.argv[1], engine="native").session()
session.adapt(x[:5], np.arange(5) % 5)
session.predict(x[:1])
one = peak() - before
session.predict(x)
print(json.dumps({"adapt 5, predict 1": one, "predict 75": peak() - before}))
"""


def cold(bundle: Path, samples: Path, count: int) -> dict[str, Any]:
    """Seconds of wall clock and of processor, whole process."""
    import resource

    wall, cpu = [], []
    for _ in range(count):
        used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-c", _COLD, str(bundle), str(samples)], check=True)
        wall.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime)
    return {"wall_s": spread(wall).to_json(), "cpu_s": spread(cpu).to_json()}


def memory(bundle: Path, samples: Path) -> dict[str, int]:
    """KiB that the peak of resident memory grows by after numpy is there."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(bundle), str(samples)], check=True, capture_output=True, text=True
    )
    made: dict[str, int] = json.loads(done.stdout)
    return made
