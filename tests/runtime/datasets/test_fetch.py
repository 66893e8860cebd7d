"""Downloads from a server on this machine: whole, broken off, resumed, damaged."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from regrow.datasets import places
from regrow.datasets.catalog import DATASETS
from regrow.datasets.check import check
from regrow.datasets.descriptors import Distribution, File, out_of
from regrow.datasets.fetch import download, fetch
from regrow.datasets.prepare import load, located
from regrow.errors import SampleError
from tests.runtime.datasets import layouts, official

CONTENT = bytes(range(256)) * 2000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    ranges = True
    cut = 0  # answers after so many bytes end
    asked: ClassVar[list[str | None]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        kind = type(self)
        span = self.headers.get("Range")
        kind.asked.append(span)
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and kind.ranges else 0
        content = kind.files.get(self.path.removeprefix("/"))
        if content is None:
            return self.send_error(404)
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: kind.cut or None])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Handler]]]:
    handler = type("Handler", (_Handler,), {"asked": [], "files": {"file": CONTENT}})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", handler
    running.shutdown()
    thread.join()
    running.server_close()


Server = tuple[str, type[_Handler]]


def test_a_file_arrives_checked(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    assert download(File("file", MD5, f"{server[0]}/file"), target).read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_what_broke_off_is_continued(server: Server, tmp_path: Path) -> None:
    url, handler = server
    handler.cut = 100_000
    file, target = File("file", MD5, f"{url}/file"), tmp_path / "file"
    with pytest.raises(SampleError, match=r"kept in .*file\.part, the same command continues"):
        download(file, target)
    assert not target.exists()
    arrived = (tmp_path / "file.part").stat().st_size
    assert 0 < arrived < len(CONTENT)
    handler.cut = 0
    assert download(file, target).read_bytes() == CONTENT
    assert handler.asked == [None, f"bytes={arrived}-"]


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    url, handler = server
    handler.ranges = False
    (tmp_path / "file.part").write_bytes(b"something that came before")
    assert download(File("file", MD5, f"{url}/file"), tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(File("file", MD5, f"{server[0]}/file"), tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    wrong = File("file", f"sha256:{'0' * 64}", f"{server[0]}/file")
    with pytest.raises(SampleError, match=r"arrived with sha256:.*, expected sha256:0000"):
        download(wrong, tmp_path / "file")
    assert list(tmp_path.glob("file*")) == []


def test_a_missing_page_names_the_address(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"/none: HTTP Error 404"):
        download(File("file", "", f"{server[0]}/none"), tmp_path / "file")


def _birds(archive: File, *names: str) -> Distribution:
    return Distribution(out_of(archive, *names), "regrow.datasets.folders:read")


def test_a_folder_comes_out_of_its_archive(
    server: Server, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official.tar(tmp_path / "birds.tgz", {"birds/images/001.wren/a.jpg": b"a", "birds/README": b"b"})
    packed = (tmp_path / "birds.tgz").read_bytes()
    server[1].files["file"] = packed
    file = File("birds.tgz", f"md5:{hashlib.md5(packed).hexdigest()}", f"{server[0]}/file")
    birds = replace(DATASETS["cub"], distributions=(_birds(file, "birds/images"),))
    monkeypatch.setitem(DATASETS, "cub", birds)
    (folder,) = fetch("cub")
    assert (folder / "001.wren" / "a.jpg").read_bytes() == b"a"
    found = located("cub")
    assert found is not None
    assert found[1] == {"birds/images": folder}
    assert fetch("cub") == []
    # A folder that was lost comes out of the archive that stayed; one that is damaged is named.
    shutil.rmtree(data / "cub" / "birds")
    asked = len(server[1].asked)
    assert fetch("cub") == [folder]
    assert len(server[1].asked) == asked
    shutil.rmtree(data / "cub" / "birds")
    (data / "cub" / "birds.tgz").write_bytes(packed[:20])
    with pytest.raises(SampleError, match=r"birds\.tgz: cannot be unpacked .*fetch it again"):
        fetch("cub")


def test_an_archive_that_would_write_elsewhere_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "cub").mkdir()
    official.tar(data / "cub" / "birds.tgz", {"../../outside": b"a"})
    file = File("birds.tgz", url="http://127.0.0.1:9/birds.tgz")
    monkeypatch.setitem(DATASETS, "cub", replace(DATASETS["cub"], distributions=(_birds(file, "birds"),)))
    with pytest.raises(SampleError, match="cannot be unpacked"):
        fetch("cub")
    assert not (data.parent / "outside").exists()


def test_an_archive_without_what_was_wanted_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "cub").mkdir()
    official.tar(data / "cub" / "birds.tgz", {"cats/1.jpg": b"a"})
    file = File("birds.tgz", url="http://127.0.0.1:9/birds.tgz")
    monkeypatch.setitem(DATASETS, "cub", replace(DATASETS["cub"], distributions=(_birds(file, "birds"),)))
    with pytest.raises(SampleError, match=r"birds\.tgz: holds no birds, expected it; remove it"):
        fetch("cub")
    assert [p.name for p in (data / "cub").iterdir()] == ["birds.tgz"]


def _served(server: Server, name: str, members: layouts.Members, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the publisher's files of a dataset, and their checksums, be these on this machine."""
    url, handler = server
    distribution = DATASETS[name].distributions[-1]
    for archive in {file.archive for file in distribution.files if file.archive}:
        inside = [file.name for file in distribution.files if file.archive == archive]
        packed = {n: content for n, content in members.items() if any(n.startswith(i) for i in inside)}
        official.tar(Path(places.root(), archive), packed)
        handler.files[archive] = Path(places.root(), archive).read_bytes()
        Path(places.root(), archive).unlink()
    handler.files |= {file.name: members[file.name] for file in distribution.files if not file.archive}
    files = tuple(
        replace(
            file,
            url=f"{url}/{file.archive or file.name}",
            digest=f"md5:{hashlib.md5(handler.files[file.archive or file.name]).hexdigest()}",
        )
        for file in distribution.files
    )
    changed = (*DATASETS[name].distributions[:-1], replace(distribution, files=files))
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], distributions=changed))


@pytest.mark.parametrize(
    ("name", "make", "fetched", "asked", "checksums"),
    [
        ("aircraft", layouts.aircraft, 5, 1, 1),  # a folder and four lists out of one archive
        ("vgg_flower", layouts.vgg_flower, 2, 2, 2),  # a folder out of an archive, and a file beside it
        ("fungi", layouts.fungi, 3, 2, 2),  # two archives
    ],
)
def test_what_lies_in_several_files_is_fetched_read_and_checked(
    name: str,
    make: Callable[[], layouts.Members],
    fetched: int,
    asked: int,
    checksums: int,
    server: Server,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = make()
    _served(server, name, members, monkeypatch)
    paths = fetch(name)
    assert all(path.exists() for path in paths)
    assert (len(paths), len(server[1].asked)) == (fetched, asked)
    assert not [p for p in (data / name).iterdir() if p.name.startswith(".")]
    facts = check(name)
    assert facts["samples"] == sum(file.lower().endswith(".jpg") for file in members)
    assert facts["checksums"] == checksums
    # What was lost comes out of the archive that stayed.
    paths[-1].unlink()
    assert fetch(name) == [paths[-1]]
    assert len(server[1].asked) == asked + (name == "vgg_flower")
    assert fetch(name) == []


def test_an_archive_that_somebody_brought_is_unpacked(
    server: Server, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _served(server, "aircraft", layouts.aircraft(), monkeypatch)
    (data / "fgvc-aircraft-2013b.tar.gz").write_bytes(server[1].files["fgvc-aircraft-2013b.tar.gz"])
    with pytest.raises(
        SampleError, match=r"--download, which unpacks the fgvc-aircraft-2013b\.tar\.gz that is"
    ):
        load("aircraft")
    assert len(fetch("aircraft")) == 5
    assert server[1].asked == []
    assert len(load("aircraft").x) == 300


def test_nothing_is_fetched_that_would_not_be_read(
    server: Server, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _served(server, "vgg_flower", layouts.vgg_flower(), monkeypatch)
    official.unpacked(data / "vgg_flower" / "001.pink primrose", {"1.jpg": layouts.picture(1)})
    assert fetch("vgg_flower") == []
    assert server[1].asked == []


def test_what_has_no_address_says_where_to_ask() -> None:
    with pytest.raises(SampleError, match=r"no direct download; get it from https://www\.image-net\.org"):
        fetch("mini_imagenet")
