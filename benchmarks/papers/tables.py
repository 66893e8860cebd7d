"""All tables by name; a new one is a file that defines TABLE, and a line here."""

from __future__ import annotations

from benchmarks.papers import (
    anp_omniglot,
    anp_pictures,
    anp_sine,
    gems_mixture,
    gems_originals,
    m2sgd_mlp,
    m2sgd_resnet20,
    meta_lth_omniglot,
    meta_lth_pictures,
    pamela_cifar,
    pamela_imagenet,
    pamela_sine,
)
from benchmarks.papers.table import Table
from regrow.errors import RegrowError

TABLES: tuple[Table, ...] = (
    meta_lth_omniglot.TABLE,
    anp_omniglot.TABLE,
    *anp_sine.TABLES,
    m2sgd_mlp.TABLE,
    m2sgd_resnet20.TABLE,
    pamela_sine.TABLE,
    pamela_cifar.TABLE,
    gems_mixture.TABLE,
    *meta_lth_pictures.TABLES,
    *anp_pictures.TABLES,
    *pamela_imagenet.TABLES,
    *gems_originals.TABLES,
)


def find(name: str) -> Table:
    """The table of that name."""
    for table in TABLES:
        if table.name == name:
            return table
    raise RegrowError(f"no table {name!r}, expected one of {', '.join(t.name for t in TABLES)}; choose one")
