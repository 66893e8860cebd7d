"""Watching an adaptation step by step changes nothing about it; deltas are the same in bytes and files."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.errors import BundleError


def test_watched_steps_are_the_adaptation_bit_for_bit(model: regrow.Model, tiny: ModuleType) -> None:
    x, y = tiny.support()
    alone, watched = model.session(), model.session()
    seen: list[tuple[int, float]] = []
    for _ in range(2):  # the second round starts with momentum
        plain = alone.adapt(x, y)
        report = watched.adapt(x, y, on_step=lambda done, loss: seen.append((done, loss)))
        assert report.losses.tobytes() == plain.losses.tobytes()
        assert (report.loss, report.steps, report.samples) == (plain.loss, plain.steps, plain.samples)
    assert alone.dump() == watched.dump()
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5] * 2
    assert [loss for _, loss in seen[5:]] == [*report.losses[1:].tolist(), report.loss]


def test_a_watcher_that_raises_leaves_the_session_as_it_was(
    model: regrow.Model, tiny: ModuleType, looks: Callable[[regrow.Session], Any]
) -> None:
    x, y = tiny.support()
    session = model.session()
    session.adapt(x, y)
    before = looks(session)

    def stop(done: int, loss: float) -> None:
        if done == 3:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        session.adapt(x, y, on_step=stop)
    assert looks(session) == before


def test_a_delta_is_the_same_as_bytes_and_as_a_file(
    model: regrow.Model, tiny: ModuleType, tmp_path: Path, looks: Callable[[regrow.Session], Any]
) -> None:
    session = model.session()
    session.adapt(*tiny.support())
    session.save(tmp_path / "a.delta")
    assert session.dump() == (tmp_path / "a.delta").read_bytes()
    assert looks(model.session(session.dump())) == looks(session)


def test_damaged_bytes_are_refused_like_a_damaged_file(model: regrow.Model, tiny: ModuleType) -> None:
    session = model.session()
    session.adapt(*tiny.support())
    data = session.dump()
    for bad in (b"", data[:-1], data[:40], data + b"\0"):
        with pytest.raises(BundleError, match=r"^delta"):
            model.session(bad)
    for at in np.linspace(0, len(data) - 1, 200, dtype=int):
        with pytest.raises(BundleError, match=r"^delta"):
            model.session(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
