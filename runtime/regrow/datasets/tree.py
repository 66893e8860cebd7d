"""The files of a distribution that is a folder or the ZIP archive of one: the same either way."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from regrow.errors import SampleError


def members(root: Path, suffix: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(path below the root, content) of every file whose name ends so, in the order of paths."""
    try:
        if root.is_dir():
            for path in sorted(root.rglob(f"*{suffix}")):
                yield PurePosixPath(path.relative_to(root).as_posix()), path.read_bytes()
            return
        with zipfile.ZipFile(root) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(suffix) and "__MACOSX" not in n):
                yield PurePosixPath(name), archive.read(name)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SampleError(f"{root}: cannot be read ({error}); fetch the official files again") from error
