"""What this machine could do at most: multiply-adds in registers, a matrix product, reading memory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

# Twelve independent sums hide the latency of a multiply-add; the compiler picks the widest registers there
# are.
_SOURCE = """
#include <stdio.h>
#include <time.h>
typedef float wide __attribute__((vector_size(64)));
/* Variables and not an array: an array stays in memory, whatever the loop. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) wide s##i = b * (float)i;
#define STEP(i) s##i = s##i * a + b;
#define FIRST(i) total += s##i[0];
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
int main(void) {
  const long rounds = 20000000;
  wide a, b;
  for (int i = 0; i < 16; i++) { a[i] = 1.0000001f; b[i] = 1e-9f; }
  EACH(DECLARE)
  double best = 0;
  float total = 0;
  for (int repeat = 0; repeat < 3; repeat++) {
    double began = now();
    for (long n = 0; n < rounds; n++) { EACH(STEP) }
    double rate = 12.0 * 32.0 * (double)rounds / (now() - began) / 1e9;
    if (rate > best) best = rate;
    EACH(FIRST)
  }
  printf("%.3f %g\\n", best, (double)total);
  return 0;
}
"""


def measure(threads: int = 1) -> dict[str, float | None]:
    """GFLOP/s and GB/s of so many at once; None where there is no compiler to measure it with."""
    return {"fma_gflops": _fma(threads), "gemm_gflops": _gemm(threads), "read_gbs": _read(threads)}


def _fma(threads: int) -> float | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "fma.c", Path(folder) / "fma"
        source.write_text(_SOURCE, encoding="utf-8")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-Wno-psabi", "-mprefer-vector-width=512"]
        done = subprocess.run([compiler, *flags, source, "-o", program], capture_output=True, check=False)
        if done.returncode:  # another processor knows no such width
            done = subprocess.run(
                [compiler, *flags[:-1], source, "-o", program], capture_output=True, check=False
            )
        if done.returncode:
            return None
        began = [subprocess.Popen([program], stdout=subprocess.PIPE, text=True) for _ in range(threads)]
        said = [process.communicate()[0] for process in began]
    # Each says its rate by its own processor time; more threads than cores would not show.
    return round(sum(float(words.split()[0]) for words in said), 1)


def _best(work: Callable[[], object], amount: float, threads: int) -> float:
    clock = time.thread_time if threads == 1 else time.perf_counter
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(4):
            if threads == 1:
                began = clock()
                work()
            else:
                began = clock()
                list(pool.map(lambda _: work(), range(threads)))
            times.append(clock() - began)
    return round(threads * amount / min(times) / 1e9, 1)


def _gemm(threads: int) -> float:
    a = np.random.default_rng(0).standard_normal((768, 768)).astype(np.float32)
    return _best(lambda: a @ a, 2.0 * 768**3, threads)


def _read(threads: int) -> float:
    a = np.ones(32 << 20, np.float32)
    return _best(a.sum, a.nbytes, threads)
