"""A write either happens or leaves the old file; nothing is left behind."""

import errno
import os
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.files import atomic_write


def test_writes_chunks_in_order_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic_write(path, [b"ab", memoryview(b""), memoryview(b"cd")])
    assert path.read_bytes() == b"abcd"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_replaces_an_old_file_through_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.bin", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    atomic_write(link, b"new")
    assert path.read_bytes() == b"new"
    assert link.is_symlink()


def test_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_writes_all_of_it_when_the_system_takes_one_byte_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1]))
    atomic_write(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("function", "code", "remedy"),
    [
        ("write", errno.ENOSPC, "free some space"),
        ("fsync", errno.EIO, "check the disk"),
        ("open", errno.EROFS, "writable disk"),
        ("open", errno.EACCES, "may write to"),
        ("replace", errno.EPERM, "may write to"),
    ],
)
def test_failure_at_any_call_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, remedy: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def broken(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, broken)
    with pytest.raises(RegrowError, match=remedy) as caught:
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_disk_that_fills_halfway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    write, room = os.write, [5]

    def full(fd: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(fd, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RegrowError, match="an older file is intact"):
        atomic_write(path, [b"1234", b"5678"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_interrupt_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def chunks() -> object:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, chunks())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("below", "remedy"),
    [
        ("file/a.bin", "parents are directories"),
        ("missing/a.bin", "create the directory"),
        ("dir", "of a file"),
    ],
)
def test_path_that_cannot_be_written_names_the_remedy(tmp_path: Path, below: str, remedy: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "dir").mkdir()
    with pytest.raises(RegrowError, match=remedy):
        atomic_write(tmp_path / below, b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["dir", "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_directory(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RegrowError, match="may write to"):
            atomic_write(tmp_path / "a.bin", b"new")
    finally:
        tmp_path.chmod(0o700)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
