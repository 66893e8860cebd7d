"""PAMELA's classification of mini-ImageNet and tieredImageNet, for whoever has their pictures and a GPU."""

from __future__ import annotations

from benchmarks.papers.pamela import (
    FOMAML,
    FULL,
    MAML,
    MAMLPP,
    META_SGD,
    PAMELA,
    REPTILE_50,
    Case,
    table,
)

_DIFFERS = (
    "The paper names neither iterations nor a schedule; ours is a cosine. Its rows but PAMELA's are "
    "literature's figures, here they are trained as PAMELA is, as long and with as many channels."
)
_REPTILE = (
    "MAML++ is rates per step and tensor, and losses after every step in the first quarter of training; "
    "norms per step it has none. Reptile takes plain gradient steps on 16 samples of a class, 20 at 5 shots."
)
CASES = (
    Case(
        name="pamela_mini_imagenet",
        data="mini-ImageNet",
        source="mini_imagenet",
        printed={
            MAML: ((0.4870, 0.0184), (0.6311, 0.0092)),
            MAMLPP: ((0.5215, 0.0026), (0.6832, 0.0044)),
            FOMAML: ((0.4807, 0.0175), (0.6315, 0.0091)),
            REPTILE_50: ((0.4997, 0.0032), (0.6599, 0.0058)),
            META_SGD: ((0.5047, 0.0187), (0.6403, 0.0094)),
            PAMELA: ((0.5350, 0.0089), (0.7051, 0.0067)),
        },
        cited={
            "Meta-LSTM (not here)": ((0.4344, 0.0077), (0.6060, 0.0071)),
            "iMAML-HF (not here)": ((0.4930, 0.0188),),
            "MT-Net (not here)": ((0.5170, 0.0184),),
            "R2D2 (not here)": ((0.4950, 0.0020), (0.6540, 0.0020)),
            "L-MAML (not here)": ((0.4940, 0.0183),),
            "HSML (not here)": ((0.5038, 0.0185),),
        },
        differs=(_DIFFERS, _REPTILE),
        presets={"gpu": FULL},
    ),
    Case(
        name="pamela_tiered_imagenet",
        data="tieredImageNet",
        source="tiered_imagenet",
        printed={
            MAML: ((0.5167, 0.0187), (0.7030, 0.0175)),
            FOMAML: ((0.4737, 0.0080), (0.6612, 0.0079)),
            META_SGD: ((0.5092, 0.0093), (0.6928, 0.0080)),
            PAMELA: ((0.5481, 0.0088), (0.7439, 0.0071)),
        },
        differs=(_DIFFERS,),
        presets={"gpu": FULL},
    ),
)  # fmt: skip
TABLES = tuple(map(table, CASES))
