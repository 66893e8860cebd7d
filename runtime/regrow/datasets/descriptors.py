"""What a row of the catalog is made of: files, the distributions they form, the dataset. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file or folder of a distribution. `digest` is "md5:..." or "sha256:..." where one is published.

    What comes in an `archive`, a tar file, has the archive's address and digest; several may come in one.
    """

    name: str
    digest: str = ""
    url: str = ""
    archive: str = ""


@dataclass(frozen=True)
class Distribution:
    """Files that belong together, and "module:function" of what reads them into a table."""

    files: tuple[File, ...]
    reader: str


@dataclass(frozen=True)
class Dataset:
    """`distributions` stand in the order they are looked for, `split` names class or user lists.

    Datasets over the same samples share the prepared `table`; "" is one of its own.
    """

    title: str
    licence: str
    citation: str
    homepage: str
    distributions: tuple[Distribution, ...]
    split: str = ""
    note: str = ""
    table: str = ""


RESEARCH = "none stated; in use for research"


def packed(name: str, digest: str, reader: str) -> Distribution:
    """One file of arrays in a form of our own."""
    return Distribution((File(name, f"sha256:{digest}"),), f"regrow.datasets.{reader}")


def repository(name: str, url: str, reader: str) -> Distribution:
    """The archive of a repository; its host makes it when asked, so there is no checksum to publish."""
    return Distribution((File(f"{name}.zip", url=url),), f"regrow.datasets.{reader}")


def unpacked(folder: str, reader: str) -> Distribution:
    """A folder that people unpack or fill themselves."""
    return Distribution((File(folder),), f"regrow.datasets.{reader}")


def out_of(archive: File, *names: str) -> tuple[File, ...]:
    """Files and folders that come in one archive."""
    return tuple(File(name, archive.digest, archive.url, archive.name) for name in names)


def listed(layout: str, *files: File) -> Distribution:
    """Photographs as their publisher keeps them and lists them; `layout` is a reader of `lists`."""
    return Distribution(files, f"regrow.datasets.lists:{layout}")
