"""Published tables that need data which is not here, as printed, so that the page lists every table.

They have no jobs: whoever has the files can write them as the tables beside this one are written.
"""

from __future__ import annotations

from benchmarks.papers.table import Cell, Published, Table

_NEEDS = (
    "needs {}, whose pictures are not packed with the others; `regrow data prepare` says where to get them"
)
_MINI, _FC100 = _NEEDS.format("mini-ImageNet"), _NEEDS.format("FC100")

# Meta-LTH: accuracy and deviation over three seeds, 5w1s and 5w5s, dense first, then 90 to 50 % pruned.
_LTH = {
    "fc100": (1, "FC100", _FC100, (
        ((37.76, 0.15), (50.06, 1.03)), ((38.45, 0.25), (52.02, 0.07)), ((36.94, 0.21), (49.02, 1.09)),
        ((36.88, 1.05), (48.78, 0.91)), ((36.46, 0.32), (47.96, 1.11)), ((36.36, 1.61), (47.68, 0.03)),
    )),
    "mini_imagenet": (2, "mini-ImageNet", _MINI, (
        ((48.07, 1.75), (63.15, 0.91)), ((45.08, 0.31), (64.81, 1.12)), ((46.00, 1.08), (58.24, 1.00)),
        ((46.09, 0.95), (56.77, 1.09)), ((45.94, 1.28), (56.85, 0.66)), ((46.54, 0.49), (53.96, 0.17)),
    )),
}  # fmt: skip
# ANP: setting, dense accuracy, then by sparsity magnitude, L-OBS (both on one target task) and ANP.
_ANP = {
    2: ("Conv4, MAML, mini-ImageNet, 5w1s", 48.05, {
        30: (41.16, 39.52, 47.34), 50: (40.55, 35.72, 47.29),
        80: (36.46, 33.77, 47.06), 85: (33.40, 30.22, 47.09)}),
    3: ("Conv4, MAML, CUB, 5w1s", 45.54, {
        30: (40.02, 38.67, 44.82), 50: (39.56, 36.96, 44.57),
        80: (40.29, 34.50, 44.69), 85: (38.53, 32.19, 44.59)}),
    4: ("Conv4, MAML, mini-ImageNet, 5w5s", 62.17, {
        30: (56.28, 54.35, 62.28), 50: (55.05, 51.27, 61.21),
        80: (50.48, 46.45, 61.90), 85: (44.44, 40.82, 61.19)}),
    5: ("Conv4, MAML, CUB, 5w5s", 61.04, {
        30: (52.21, 47.07, 60.39), 50: (51.92, 43.64, 60.78),
        80: (50.84, 43.85, 60.15), 85: (50.24, 43.52, 60.07)}),
    6: ("ResNet-12, MAML, mini-ImageNet, 5w1s", 50.76, {
        30: (43.45, 43.77, 51.50), 50: (42.93, 43.07, 50.87),
        80: (38.63, 30.36, 50.45), 90: (36.60, 29.89, 49.94)}),
    7: ("ResNet-12, MAML, CUB, 5w1s", 51.59, {
        30: (46.43, 44.00, 51.02), 50: (40.98, 39.04, 50.67),
        80: (34.50, 33.00, 50.61), 85: (32.00, 30.09, 50.60)}),
    8: ("Conv4, CAVIA, mini-ImageNet, 5w1s", 47.56, {
        30: (38.71, 37.86, 46.74), 50: (34.87, 34.32, 47.71),
        80: (32.14, 23.86, 46.59), 85: (27.76, 20.86, 46.57)}),
    9: ("Conv4, CAVIA, CUB, 5w1s", 47.32, {
        30: (41.77, 40.67, 47.15), 50: (41.39, 40.24, 47.03),
        80: (38.33, 37.28, 46.73), 85: (37.91, 37.26, 46.85)}),
    10: ("Conv4, Reptile, mini-ImageNet, 5w1s", 48.40, {
        30: (41.03, 40.89, 48.51), 50: (38.34, 35.15, 47.98),
        80: (31.55, 29.03, 47.54), 85: (29.94, 28.34, 47.61)}),
    11: ("Conv4, Reptile, CUB, 5w1s", 45.19, {
        30: (42.39, 40.36, 44.92), 50: (38.94, 36.43, 45.41),
        80: (33.31, 31.48, 44.45), 85: (31.24, 29.59, 44.30)}),
}  # fmt: skip


def _lth(key: str) -> Table:
    number, data, why, rows = _LTH[key]
    names = ["FOMAML, dense", *(f"Meta-LTH {p} %" for p in (90, 80, 70, 60, 50))]
    cells = [
        Cell(f"{column}/{row}", row, column, Published(value / 100, spread / 100))
        for row, pair in zip(names, rows, strict=True)
        for column, (value, spread) in zip(("5w1s", "5w5s"), pair, strict=True)
    ]
    paper = f"Meta-LTH, Learning to learn with indispensable connections (2023), table {number}"
    return Table(f"meta_lth_{key}", f"Meta-LTH on {data}", paper, "accuracy", tuple(cells), absent=why)


def _anp(number: int) -> Table:
    setting, dense, rows = _ANP[number]
    cells = [Cell("0", "dense", "0 %", Published(dense / 100))]
    for percent, values in rows.items():
        for name, value in zip(("magnitude", "L-OBS", "ANP"), values, strict=True):
            cells.append(
                Cell(f"{percent}/{name}", name, f"{percent} %", Published(value / 100), rival=name != "ANP")
            )
    paper = f"ANP, Pruning meta-trained networks for on-device adaptation (2021), table {number}"
    why = _MINI if "mini" in setting else _NEEDS.format("CUB-200-2011")
    return Table(f"anp_{number}", f"ANP: {setting}", paper, "accuracy", tuple(cells), absent=why)


TABLES = (*map(_lth, _LTH), *map(_anp, _ANP))
