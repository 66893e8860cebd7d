"""The front of the suite that measures every peer, which lives in a checkout: it needs torch and others."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from regrow.cli.command import refuse_overwrite
from regrow.errors import UnsupportedError


def checkout() -> Path:
    """The root of the checkout that this package runs from."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "suite.py").exists():
        raise UnsupportedError(
            "bench --suite: regrow runs from an installed package, expected a checkout, where the peers are; "
            "clone the repository, make install, and run it there"
        )
    return root


def run(args: argparse.Namespace) -> int:
    """Run the suite as a process of its own, then its page; the exit code is theirs."""
    root = checkout()
    out = Path(args.out or f"suite-{args.suite}.json").resolve()
    refuse_overwrite([args.html], args.force)
    words = ["benchmarks.suite", str(out), "--suite", args.suite, "--rounds", str(args.repeat)]
    words += ["--cold", str(args.cold), *(["--only", *args.only] if args.only else [])]
    if args.device == "cuda":
        words = ["benchmarks.gpu", str(out)]
    done = subprocess.run([sys.executable, "-m", *words], cwd=root, check=False)
    if done.returncode or not args.html:
        return done.returncode
    page = ["benchmarks.gpu_page" if args.device == "cuda" else "benchmarks.suite_page", str(out)]
    html = str(Path(args.html).resolve())
    return subprocess.run([sys.executable, "-m", *page, "--html", html], cwd=root, check=False).returncode
