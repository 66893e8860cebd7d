"""Downloads from a server on this machine: whole, broken off, resumed, damaged."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from regrow.datasets.catalog import DATASETS
from regrow.datasets.descriptors import Distribution, File, out_of
from regrow.datasets.fetch import download, fetch
from regrow.datasets.prepare import located
from regrow.errors import SampleError
from tests.runtime.datasets import official

CONTENT = bytes(range(256)) * 2000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    ranges = True
    cut = 0  # answers after so many bytes end
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        kind = type(self)
        span = self.headers.get("Range")
        kind.asked.append(span)
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and kind.ranges else 0
        if self.path != "/file":
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: kind.cut or None])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Handler]]]:
    handler = type("Handler", (_Handler,), {"asked": []})
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
    monkeypatch.setattr(sys.modules[__name__], "CONTENT", packed)
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


def test_what_has_no_address_says_where_to_ask() -> None:
    with pytest.raises(SampleError, match=r"no direct download; get it from https://www\.image-net\.org"):
        fetch("mini_imagenet")
