"""GEMS' table 2 on its own three mixtures, for whoever has their pictures and a GPU."""

from __future__ import annotations

from benchmarks.papers.gems import BMP, FULL, Case, table
from benchmarks.papers.table import Table

# What `mixture:` opens of each. Of Fungi's species many have fewer pictures than an episode asks for.
_PARTS = {
    "CUB-200": '{ source = "cub" }',
    "VGG Flowers": '{ source = "vgg_flower" }',
    "Fungi": '{ source = "fungi", args = { at_least = 16 } }',
    "Aircraft": '{ source = "aircraft" }',
}
_SPARSE = "Species of Fungi with fewer than 16 pictures are left out: one for support, 15 to ask about."
_PRINTED: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "cub": {"CUB-200": (0.468, 0.533, 0.528, 0.545), "Aircraft": (0.309, 0.399, 0.428, 0.397)},
    "vgg_flower": {"VGG Flowers": (0.656, 0.728, 0.738, 0.722), "Aircraft": (0.342, 0.399, 0.448, 0.414)},
    "fungi": {"Fungi": (0.372, 0.424, 0.437, 0.393), "Aircraft": (0.324, 0.399, 0.438, 0.427)},
}


def _parts(*kinds: str) -> str:
    return f"data.args={{ parts = [{', '.join(_PARTS[kind] for kind in kinds)}], shape = [3, 84, 84] }}"


def _table(source: str) -> Table:
    printed = _PRINTED[source]
    return table(Case(
        name=f"gems_{source}",
        title=" and ".join(printed),
        # A learner of one kind knows of no mixture, so that the three tables share that of Aircraft.
        kinds={kind: (_parts(kind),) for kind in printed},
        differs=(
            "Classes are parted by published lists: CUB-200 100/50/50, VGG Flowers 71/15/16, Fungi "
            "994/200/200, Aircraft 70/15/15, where what the paper tells is a parting of images.",
            *((_SPARSE,) if "Fungi" in printed else ()),
            "The paper's times have no unit and are left out.",
            "The paper names neither a schedule nor how batch norm is done: a cosine, and the support set's "
            "statistics. Its three seeds are others.",
        ),
        presets={"gpu": FULL},
        sets=(_parts(*printed), "rule.args.lr=0.01", "train.lr=1e-4"),
        own={BMP: ("train.rule_lr=1e-4",)},
        printed=printed,
        needs=(source, "aircraft"),
    ))  # fmt: skip


TABLES = tuple(map(_table, _PRINTED))
