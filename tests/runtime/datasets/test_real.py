"""The real files, where REGROW_DATA has them: a floor that wrong labels or pixels would not reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regrow.datasets import prepare
from regrow.episodes import open_source
from regrow.evaluate import Sizes, nearest_class_mean

ROOT = Path(os.environ.get("REGROW_DATA", "absent"))
SIZES: Sizes = {"n_way": 5, "k_shot": 5, "queries": 4, "episodes": 60, "seed": 0}


@pytest.mark.parametrize(
    ("spec", "file", "low", "high"),
    [
        ("omniglot:test", "omniglot_28.npz", 0.55, 0.75),
        ("cifar_fs:test", "cifar100_fs_valtest.npz", 0.33, 0.48),
        ("myo_emg:test", "myo_emg.npz", 0.15, 0.5),
        ("dspspeech20:test", "dspspeech20_logmel.npz", 0.6, 0.98),
        ("fsdd:", "fsdd_8k.npz", 0.75, 0.98),
        ("sp_sw_har:test", "sp_sw_har.npz", 0.3, 0.9),
        ("uci_har:test", "uci_har.npz", 0.35, 0.98),
    ],
)
def test_nearest_class_mean_is_where_it_should_be(
    monkeypatch: pytest.MonkeyPatch, spec: str, file: str, low: float, high: float
) -> None:
    if not (ROOT / file).exists():
        pytest.skip(f"{file} is not below REGROW_DATA")
    monkeypatch.setenv("REGROW_DATA", str(ROOT))
    prepare.opened.cache_clear()
    accuracy = nearest_class_mean(open_source(spec), lambda support, x: x, **SIZES).mean
    assert low < accuracy < high
