"""Download the files of a dataset from its publisher: resumed where it broke off, checked, then renamed."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import BinaryIO

from regrow.datasets import places, prepare
from regrow.datasets.catalog import DATASETS
from regrow.datasets.descriptors import File
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
    here = prepare.located(name)
    order = DATASETS[name].distributions
    if here is not None and order.index(here[0]) < order.index(offered[0]):
        return []  # what is here would be read all the same
    folder = places.root() / name
    wanted = [file for file in offered[0].files if places.find(name, file.name) is None]
    packed: dict[str, list[File]] = {}
    for file in wanted:
        if file.archive:
            packed.setdefault(file.archive, []).append(file)
        else:
            download(file, folder / file.name)
    for archive, files in packed.items():
        # The archive stays, so that nothing is fetched twice.
        place = places.find(name, archive) or download(files[0], folder / archive)
        _unpack(place, [file.name for file in files], folder)
    return [folder / file.name for file in wanted]


def _unpack(archive: Path, names: list[str], folder: Path) -> None:
    """Files and folders out of an archive; each appears when it is whole."""
    draft = folder / f".{archive.name}.unpacking"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        progress = Progress(archive.stat().st_size, f"unpack {archive.name}")
        with archive.open("rb") as file, tarfile.open(fileobj=file) as packed, progress:
            for member in packed:
                packed.extract(member, draft, filter="data")
                progress.update(file.tell())
        for name in names:
            if not (draft / name).exists():
                raise SampleError(f"{archive}: holds no {name}, expected it; remove it and fetch it again")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(folder / name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise SampleError(
            f"{archive}: cannot be unpacked ({error}); make room, or remove it and fetch it again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
    """The digest of a file as the catalog writes it, "md5:..." or "sha256:..."; "" where it names none."""
    if not kind:
        return ""
    made = hashlib.new(kind)
    with path.open("rb") as file, Progress(path.stat().st_size, f"{kind} of {path.name}") as progress:
        while chunk := file.read(_CHUNK):
            made.update(chunk)
            progress.update(file.tell())
    return f"{kind}:{made.hexdigest()}"
