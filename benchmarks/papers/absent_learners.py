"""Published tables of learners that need data which is not here, as printed."""

from __future__ import annotations

from benchmarks.papers.table import Cell, Published, Table

# PAMELA: mini-ImageNet with one and five shots, tieredImageNet with one and five.
_COLUMNS = ("mini-ImageNet 5w1s", "mini-ImageNet 5w5s", "tieredImageNet 5w1s", "tieredImageNet 5w5s")
_PAMELA: dict[str, tuple[tuple[float, float], ...]] = {
    "MAML": ((48.70, 1.84), (63.11, 0.92), (51.67, 1.87), (70.30, 1.75)),
    "MAML++": ((52.15, 0.26), (68.32, 0.44)),
    "FOMAML": ((48.07, 1.75), (63.15, 0.91), (47.37, 0.80), (66.12, 0.79)),
    "Reptile": ((49.97, 0.32), (65.99, 0.58)),
    "Meta-SGD": ((50.47, 1.87), (64.03, 0.94), (50.92, 0.93), (69.28, 0.80)),
    "PAMELA": ((53.50, 0.89), (70.51, 0.67), (54.81, 0.88), (74.39, 0.71)),
}


def _pamela() -> Table:
    cells = [
        Cell(f"{column}/{row}", row, column, Published(value / 100, spread / 100), rival=row != "PAMELA")
        for row, printed in _PAMELA.items()
        for column, (value, spread) in zip(_COLUMNS, printed, strict=False)
    ]
    return Table(
        "pamela_imagenet",
        "PAMELA on mini-ImageNet and tieredImageNet",
        "Rajasegaran et al.: Meta-learning the learning trends shared across tasks. 2020",
        "accuracy",
        tuple(cells),
        absent="needs both data sets; `regrow data prepare` says where to get them",
    )


TABLES = (_pamela(),)
