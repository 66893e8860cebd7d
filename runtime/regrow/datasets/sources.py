"""Class and group sources over the known datasets, one function per row of `regrow.episodes.SOURCES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from regrow.datasets import places, signals, split
from regrow.datasets.motion import DEVICES
from regrow.datasets.prepare import opened
from regrow.datasets.table import GroupedTable, Table, TableSource, by_class, by_group, picked
from regrow.errors import SampleError

Layout = Literal["picture", "signal"]
Rotations = Literal["none", "classes", "episodes"]
_QUARTERS = {"none": (0,), "classes": (0, 1, 2, 3), "episodes": (0,)}


def _open(name: str) -> Table:
    return opened(name, places.root())


def _by_split(name: str, part: str) -> TableSource:
    """The classes that a split's list names; a class of the list that the files lack is an error."""
    table = _open(name)
    wanted = split.names(name, part, f"source '{name}:{part}'")
    return by_class(table, _known(name, table, wanted))


def _known(name: str, table: Table, wanted: tuple[str, ...]) -> list[str]:
    have = set(table.names["class"])
    lacking = [n for n in wanted if n not in have and n.replace("/", "_") not in have]
    if lacking:
        raise SampleError(
            f"source {name!r}: no class {lacking[0]!r} and {len(lacking) - 1} more of {len(wanted)} in the "
            "split, expected all of them; check the folder names"
        )
    return [n if n in have else n.replace("/", "_") for n in wanted]


def _official(name: str, part: str) -> TableSource:
    """All classes, with the samples of the official part; "" means every sample."""
    table = _open(name)
    source = by_class(table, table.names["class"])
    if not part:
        return source
    if part not in table.names["official"]:
        raise SampleError(
            f"source '{name}:{part}': no part {part!r}, expected {', '.join(table.names['official'])} or none"
        )
    number = table.names["official"].index(part)
    members = [rows[table.columns["official"][rows] == number] for rows in source.members]
    return TableSource(table, source.classes, members)


def omniglot(
    part: str, *, split: Literal["vinyals", "official"] = "vinyals", rotations: Rotations = "none"
) -> TableSource:
    """Characters of "train", "val", "test", "trainval"; of "background", "evaluation" in the official split.

    With rotations "classes" a character turned by 90, 180 or 270 degrees is a class of its own; with
    "episodes" every class of an episode is turned by 0, 90, 180 or 270 degrees, drawn for the episode.
    """
    place = f"source 'omniglot:{part}'"
    if rotations not in _QUARTERS or split not in ("vinyals", "official"):
        raise SampleError(
            f"{place}: split {split!r}, rotations {rotations!r}; expected vinyals or official, and "
            "none, classes or episodes; correct them"
        )
    table = _open("omniglot")
    quarters, turning = _QUARTERS[rotations], rotations == "episodes"
    if split == "vinyals":
        return by_class(table, _vinyals(part, place), quarters=quarters, turning=turning)
    if part not in table.names["official"]:
        raise SampleError(f"{place}: no part {part!r}, expected {' or '.join(table.names['official'])}")
    number = table.names["official"].index(part)
    labels = table.columns["class"][table.rows(official=number)]
    names = [table.names["class"][c] for c in dict.fromkeys(labels.tolist())]
    return by_class(table, names, quarters=quarters, turning=turning)


def _vinyals(part: str, place: str) -> tuple[str, ...]:
    return split.names("omniglot_vinyals", part, place)


def cifar_fs(part: str) -> TableSource:
    """CIFAR-FS: "train", "val", "test" or "trainval"."""
    return _by_split("cifar_fs", part)


def fc100(part: str) -> TableSource:
    """FC100: "train", "val", "test" or "trainval"."""
    return _by_split("fc100", part)


def mini_imagenet(part: str) -> TableSource:
    """mini-ImageNet: "train", "val", "test" or "trainval"."""
    return _by_split("mini_imagenet", part)


def tiered_imagenet(part: str) -> TableSource:
    """tieredImageNet: "train", "val", "test" or "trainval"."""
    return _by_split("tiered_imagenet", part)


def cub(part: str) -> TableSource:
    """CUB-200-2011: "train", "val", "test" or "trainval"."""
    return _by_split("cub", part)


def vgg_flower(part: str) -> TableSource:
    """VGG Flowers 102: "train", "val", "test" or "trainval"."""
    return _by_split("vgg_flower", part)


def aircraft(part: str) -> TableSource:
    """FGVC-Aircraft: "train", "val", "test" or "trainval"."""
    return _by_split("aircraft", part)


def fungi(part: str, *, at_least: int = 1) -> TableSource:
    """FGVCx Fungi: "train", "val", "test" or "trainval", of species with `at_least` so many pictures."""
    source = _by_split("fungi", part)
    kept = [
        (c, rows) for c, rows in zip(source.classes, source.members, strict=True) if len(rows) >= at_least
    ]
    return replace(source, classes=[c for c, _ in kept], members=[rows for _, rows in kept], turns=())


def caltech101(part: str) -> TableSource:
    """Caltech-101: "train", "val", "test" or "trainval"."""
    return _by_split("caltech101", part)


def mnist(part: str) -> TableSource:
    """The ten digits: "train", "test", or every image."""
    return _official("mnist", part)


def fashion_mnist(part: str) -> TableSource:
    """The ten kinds of clothing: "train", "test", or every image."""
    return _official("fashion_mnist", part)


def stl10(part: str) -> TableSource:
    """STL-10's ten classes: "train", "test", or every labelled image."""
    return _official("stl10", part)


def _of_users(
    name: str,
    part: str,
    only: Sequence[str],
    without: Sequence[str],
    *,
    block: str | None = None,
    classes: Sequence[str] | None = None,
    layout: Layout = "picture",
    **fixed: int,
) -> GroupedTable:
    """The users of a part, or of "" all there are, with those `only` or `without` those."""
    table, place = _open(name), f"source '{name}:{part}'"
    if layout == "signal":  # (n, 1, frames, bands) -> (n, bands, frames), without a copy
        table = replace(table, x=table.x[:, 0].swapaxes(1, 2))
    elif layout != "picture":
        raise SampleError(f"{place}: layout is {layout!r}, expected picture or signal; correct it")
    for asked in classes or ():
        if asked not in table.names["class"]:
            raise SampleError(
                f"{place}: no class {asked!r}, expected some of {', '.join(table.names['class'])}; correct it"
            )
    users = split.names(name, part, place) if part else table.names["user"]
    chosen = picked(users, only, without, place)
    return by_group(table, "user", chosen, block=block, classes=classes, **fixed)


def myo_emg(
    part: str,
    *,
    block: Literal["session"] | None = None,
    envelope: int | None = None,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> GroupedTable:
    """Gestures of the participants of "train", "val", "test", "trainval", or of all.

    With `block = "session"` support comes from one session, queries from the person's other ones. `envelope`
    gives, in place of the signal, the logarithm of the mean amplitude of so many samples at a time.
    """
    if block not in (None, "session"):
        raise SampleError(
            f"source 'myo_emg:{part}': block is {block!r}, expected session or none; correct it"
        )
    length = _open("myo_emg").x.shape[-1]
    if envelope is not None and (envelope < 1 or length % envelope):
        raise SampleError(
            f"source 'myo_emg:{part}': envelope is {envelope}, expected a divisor of {length}; choose one"
        )
    made = _of_users("myo_emg", part, only, without, block=block)
    return made if envelope is None else signals.enveloped(made, envelope)


def dspspeech20(
    part: str, *, layout: Layout = "picture", only: Sequence[str] = (), without: Sequence[str] = ()
) -> GroupedTable:
    """Words of the speakers of "train", "val", "test", "trainval", or of all.

    As a "picture", 1 x 50 frames x 40 bands, or as a "signal", 40 bands x 50 frames.
    """
    return _of_users("dspspeech20", part, only, without, layout=layout)


def fsdd(
    part: str, *, layout: Layout = "picture", only: Sequence[str] = (), without: Sequence[str] = ()
) -> GroupedTable:
    """Digits of the speakers of "train", "val", "test", "trainval", or of all.

    As a "picture", 1 x 50 frames x 40 bands, or as a "signal", 40 bands x 50 frames.
    """
    return _of_users("fsdd", part, only, without, layout=layout)


def sp_sw_har(
    part: str,
    *,
    device: Literal["phone", "watch", "both"] = "phone",
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> GroupedTable:
    """Activities of the people of "train", "val", "test", "trainval", or of all; per `device` if both.

    Support comes from as few runs as it can, queries from the person's other ones.
    """
    devices = DEVICES if device == "both" else (device,)
    if not set(devices) <= set(DEVICES):
        raise SampleError(f"source 'sp_sw_har:{part}': no device {device!r}, expected phone, watch or both")
    found = [
        _of_users("sp_sw_har", part, only, without, block="run", device=DEVICES.index(name))
        for name in devices
    ]
    if len(found) == 1:
        return found[0]
    groups = [f"{user} {name}" for name, part in zip(devices, found, strict=True) for user in part.groups]
    return GroupedTable(found[0].classes, tuple(groups), tuple(s for part in found for s in part.sources))


def uci_har(part: str, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> GroupedTable:
    """Activities of the users of "train", "val", "test", "trainval", or of all."""
    return _of_users("uci_har", part, only, without, block="bout")


def gas_drift(
    part: str,
    *,
    gases: Sequence[str] | None = None,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> GroupedTable:
    """Gases in the batches of "train" (the first), "val" (the second), "test" (the later ones), or in all.

    Three batches hold no toluene and count only where `gases` leaves it out.
    """
    return _of_users("gas_drift", part, only, without, classes=gases)
