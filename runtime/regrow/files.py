"""Write a file so that a reader sees all of it or the old one, whatever happens. Writes only; never reads.

Bytes go to a sibling temporary file, which is fsynced and renamed over the target; then the directory is
fsynced. A live mmap of the old file therefore keeps its bytes.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from regrow.errors import RegrowError

StrPath = str | os.PathLike[str]

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some of your quota or choose another disk",
    errno.EFBIG: "raise the file size limit or choose another disk",
    errno.EROFS: "choose a directory on a writable disk",
    errno.EACCES: "choose a directory you may write to",
    errno.EPERM: "choose a directory you may write to",
    errno.ENOENT: "create the directory first",
    errno.ENOTDIR: "choose a path whose parents are directories",
    errno.EISDIR: "choose the path of a file, not of a directory",
    errno.ENAMETOOLONG: "choose a shorter file name",
}


def atomic_write(path: StrPath, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Replace `path` by `data` (bytes, or chunks of them); on any failure the old file is intact."""
    # Through a symbolic link we replace the file it names, not the link.
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    chunks = [data] if isinstance(data, bytes) else data
    try:
        _write_new(temporary, chunks)
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk and the path")
        raise RegrowError(
            f"{path}: could not be written: {reason}; an older file is intact; {remedy}"
        ) from error
    finally:
        # After success the name is gone; after a failure, or Ctrl-C, nothing may be left behind.
        _discard(temporary)


def _write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            rest = rest.cast("B") if rest.nbytes else rest[:0]
            while rest.nbytes:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    flag = getattr(os, "O_DIRECTORY", None)
    if flag is None:  # Windows: a directory cannot be opened, and a rename is durable enough
        return
    descriptor = os.open(path, flag)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
