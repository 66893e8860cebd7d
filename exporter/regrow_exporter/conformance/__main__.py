"""`python -m regrow_exporter.conformance DIR`: write the conformance pack."""

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from regrow.conformance import pack
from regrow.errors import RegrowError, UnsupportedError
from regrow_exporter.conformance.cases import CASES
from regrow_exporter.conformance.make import write
from regrow_exporter.pack import versions


def main() -> int:
    """Write every case that was asked for, then the index."""
    parser = argparse.ArgumentParser(prog="python -m regrow_exporter.conformance", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--case", default="*", metavar="GLOB", help="these cases only (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        _make(args.folder, args.case)
    except RegrowError as error:
        sys.stderr.write(f"regrow: error: {' '.join(str(error).split())}\n")
        return 2
    return 0


def _make(folder: Path, pattern: str) -> None:
    names = [name for name in CASES if fnmatchcase(name, pattern)]
    if not names:
        raise UnsupportedError(
            f"conformance: no case matches {pattern!r}, expected some of {', '.join(CASES)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Until the new index is there, what lies there is no pack.
    (folder / pack.INDEX).unlink(missing_ok=True)
    for number, name in enumerate(names, 1):
        sys.stderr.write(f"conformance: {number}/{len(names)} {name}\n")
        write(folder, name, CASES[name])
    pack.write_index(folder, names, versions())


if __name__ == "__main__":
    raise SystemExit(main())
