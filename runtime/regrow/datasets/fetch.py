"""Download the files of a dataset from its publisher: resumed where it broke off, checked, then renamed."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import BinaryIO

from regrow.datasets import places
from regrow.datasets.catalog import DATASETS, File
from regrow.errors import SampleError
from regrow.progress import Progress

_CHUNK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte


def fetch(name: str) -> list[Path]:
    """What of a dataset's official files is missing, into the data folder; the paths of what was fetched."""
    offered = [d for d in DATASETS[name].distributions if all(file.url for file in d.files)]
    if not offered:
        raise SampleError(
            f"{name}: its publisher offers no direct download; get it from {DATASETS[name].homepage}"
        )
    wanted = [file for file in offered[0].files if places.find(name, file.name) is None]
    return [_fetched(file, places.root() / name) for file in wanted]


def _fetched(file: File, folder: Path) -> Path:
    """A file, or the folder out of its archive; the archive stays, so that nothing is fetched twice."""
    if not file.archive:
        return download(file, folder / file.name)
    archive = folder / file.archive
    if not archive.exists():
        download(file, archive)
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise SampleError(f"{archive}: cannot be unpacked ({error}); remove it and fetch it again") from error
    return folder / file.name


def download(file: File, target: Path) -> Path:
    """One file; what came before an interruption is kept beside it as `.part` and continued."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as out:
            _append(file.url, out)
    except (OSError, urllib.error.URLError) as error:
        raise SampleError(
            f"{file.url}: {error}; what arrived is kept in {part}, the same command continues"
        ) from error
    found = digest(part, file.digest.partition(":")[0])
    if file.digest and found != file.digest:
        part.unlink()
        raise SampleError(
            f"{file.url}: arrived with {found}, expected {file.digest}; it was removed, fetch it again"
        )
    part.replace(target)
    return target


def _append(url: str, out: BinaryIO) -> None:
    have = out.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to ask for
            return
        raise
    with answer:
        if have and answer.status != 206:  # the server sends everything again
            out.truncate(have := 0)
        rest = answer.headers.get("Content-Length")
        total = have + int(rest) if rest else None
        with Progress(total, url.rpartition("/")[2]) as progress:
            progress.start_at(have)
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                have += len(chunk)
                progress.update(have)
    if total is not None and have < total:
        raise OSError(f"broke off after {have} of {total} bytes")


def digest(path: Path, kind: str) -> str:
    """The digest of a file as the catalog writes it, "md5:..." or "sha256:..."."""
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}" if kind else ""
