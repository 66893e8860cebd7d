"""What the signal sources can be asked for: one session at a time, envelopes, some of the gases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrow.datasets import split
from regrow.datasets.table import GroupedTable
from regrow.episodes import open_source, sample
from regrow.errors import SampleError

SESSIONS, REPS, LENGTH = 3, 4, 20


def opened(spec: str, **args: object) -> GroupedTable:
    source = open_source(spec, **args)
    assert isinstance(source, GroupedTable)
    return source


def myo(folder: Path) -> None:
    """The test users; the first two values of a signal say of which session and repetition it is."""
    codes = list(split.names("myo_emg", "test", "test"))
    user, session, gesture, rep = (a.ravel() for a in np.indices((len(codes), SESSIONS, 2, REPS)))
    emg = np.zeros((8, len(user), LENGTH), np.int8)
    emg[0, :, 0], emg[0, :, 1], emg[1] = session, rep, -30
    np.savez(
        folder / "myo_emg.npz", emg=emg, participant=user, session=session, gesture=gesture, rep=rep,
        gestures=np.array(["fist", "rest"]), participant_codes=np.array(codes),
    )  # fmt: skip


def test_support_of_one_session_and_queries_of_the_others(data: Path) -> None:
    myo(data)
    source = opened("myo_emg:test", block="session")
    for index in range(10):
        e = sample(source, 2, 3, 6, 0, index)
        sessions = [set(np.rint(x[:, 0, 0] * 128)) for x in (e.support_x, e.query_x)]
        assert len(sessions[0]) == 1
        assert not sessions[0] & sessions[1]
    mixed = [sample(opened("myo_emg:test"), 2, 3, 6, 0, i).support_x[:, 0, 0] for i in range(10)]
    assert any(len(set(firsts)) > 1 for firsts in mixed)
    with pytest.raises(SampleError, match="block is 'rep', expected session"):
        open_source("myo_emg:test", block="rep")


def test_an_envelope_is_the_log_of_mean_sizes(data: Path) -> None:
    myo(data)
    source = opened("myo_emg:test", envelope=5)
    assert source.sample_shape == (8, LENGTH // 5)
    x = source.group(1).take(0, np.arange(1))[0]
    assert np.allclose(x[1], np.log1p(30))
    assert np.allclose(x[2], 0)
    with pytest.raises(SampleError, match="envelope is 3, expected a divisor of 20"):
        open_source("myo_emg:test", envelope=3)


def test_batches_that_lack_a_gas_count_where_it_is_left_out(data: Path) -> None:
    batch = np.repeat([1, 2, 3, 4, 5, 6, 8, 9], 6)
    gas = np.tile(np.repeat([0, 1, 2], 2), 8)
    kept = (batch < 3) | (batch > 5) | (gas != 2)
    x = np.tile(np.arange(48, dtype=np.float32), (3, 1))
    np.savez(
        data / "gas_drift.npz", x=x[:, kept], batch=batch[kept], gas=gas[kept],
        gases=np.array(["Ethanol", "Acetone", "Toluene"]),
    )  # fmt: skip
    assert opened("gas_drift:test").groups == ("batch 6", "batch 8", "batch 9")
    source = opened("gas_drift:test", gases=["acetone", "ethanol"])
    assert source.groups[:2] == ("batch 3", "batch 4")
    assert source.classes == ("acetone", "ethanol")
    e = sample(source, 2, 1, 1, 0, 0)
    assert e.classes == ("acetone", "ethanol")
    with pytest.raises(SampleError, match="no class 'helium', expected some of ethanol, acetone, toluene"):
        open_source("gas_drift:test", gases=["helium"])
