"""A library to start a process with that counts the bytes it holds at once: the allocator's level, where the
resident set also knows pages that nobody uses. Only with glibc, whose own functions it calls.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.counters import ALLOCATIONS

_SOURCE = r"""
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);
static _Atomic long live, most;

static void *taken(void *p) {
  long size = p ? (long)malloc_usable_size(p) : 0;
  long now = atomic_fetch_add_explicit(&live, size, memory_order_relaxed) + size;
  long old = atomic_load_explicit(&most, memory_order_relaxed);
  while (now > old && !atomic_compare_exchange_weak(&most, &old, now)) { }
  return p;
}
static void given(void *p) {
  if (p) atomic_fetch_sub_explicit(&live, (long)malloc_usable_size(p), memory_order_relaxed);
}
void *malloc(size_t n) { return taken(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return taken(__libc_calloc(n, size)); }
void *memalign(size_t a, size_t n) { return taken(__libc_memalign(a, n)); }
void *aligned_alloc(size_t a, size_t n) { return taken(__libc_memalign(a, n)); }
int posix_memalign(void **p, size_t a, size_t n) {
  *p = taken(__libc_memalign(a, n));
  return *p ? 0 : ENOMEM;
}
void *realloc(void *p, size_t n) {
  long before = p ? (long)malloc_usable_size(p) : 0;
  void *q = __libc_realloc(p, n);
  if (q || !n) atomic_fetch_sub_explicit(&live, before, memory_order_relaxed);
  return q ? taken(q) : q;
}
void free(void *p) { given(p); __libc_free(p); }
long regrow_live(void) { return live; }
long regrow_most(void) { return most; }
void regrow_mark(void) { most = live; }
"""


def environment(folder: Path) -> dict[str, str]:
    """What a process has to see to count; empty where it cannot be had."""
    library = folder / "allocations.so"
    if not library.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            return {}
        source = folder / "allocations.c"
        source.write_text(_SOURCE, encoding="utf-8")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        if subprocess.run(command, capture_output=True, check=False).returncode or not _loads(library):
            library.unlink(missing_ok=True)
            return {}
    return {"LD_PRELOAD": str(library.resolve()), ALLOCATIONS: "1"}


def _loads(library: Path) -> bool:
    """Whether a process starts with it: not where the C library is another."""
    env = os.environ | {"LD_PRELOAD": str(library.resolve())}
    done = subprocess.run(["cat", os.devnull], env=env, capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr
