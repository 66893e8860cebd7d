"""Episodes that stay with one person, and blocks that never stand on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from regrow.datasets.table import Table, TableSource, by_group
from regrow.episodes import GroupSource, open_classes, open_source, sample
from regrow.errors import SampleError

USERS, CLASSES, EACH = ("ana", "ben", "cid"), ("left", "right"), 6


def table() -> Table:
    """x says whose, of which class and the how manieth a sample is."""
    user, kind, number = (a.ravel() for a in np.indices((3, 2, EACH)))
    x = np.stack([user, kind, number], 1).astype(np.float32)
    columns = {"class": kind, "user": user, "bout": number // 2}
    return Table(x, columns, {"class": CLASSES, "user": USERS})


def test_an_episode_stays_with_one_user_and_keeps_the_order_of_classes() -> None:
    source = by_group(table(), "user", USERS)
    assert isinstance(source, GroupSource)
    seen = set()
    for index in range(30):
        e = sample(source, 2, 2, 3, 0, index)
        users = set(e.support_x[:, 0]) | set(e.query_x[:, 0])
        assert len(users) == 1
        seen |= users
        assert e.classes == CLASSES
        assert (e.support_x[:, 1] == e.support_y).all()
        assert not {tuple(x) for x in e.support_x} & {tuple(x) for x in e.query_x}
    assert seen == {0, 1, 2}


def test_blocks_stay_on_one_side() -> None:
    source = by_group(table(), "user", ["ben"], block="bout")
    for index in range(20):
        e = sample(source, 2, 2, 2, 0, index)
        for kind in (0, 1):
            sides = [{int(n) // 2 for _, k, n in x if k == kind} for x in (e.support_x, e.query_x)]
            # Two samples of support come from one bout, so that most is left to ask about.
            assert len(sides[0]) == 1
            assert not sides[0] & sides[1]
    with pytest.raises(SampleError, match="class 'left' has 4 samples outside the blocks of its support"):
        sample(source, 2, 1, 5, 0, 0)


def test_support_of_all_classes_comes_from_one_block_where_they_share_it() -> None:
    source = by_group(table(), "user", ["ben"], block="bout")
    seen = set()
    for index in range(20):
        e = sample(source, 2, 2, 2, 0, index)
        bouts = {int(n) // 2 for _, _, n in e.support_x}
        assert len(bouts) == 1
        assert not bouts & {int(n) // 2 for _, _, n in e.query_x}
        seen |= bouts
    assert seen == {0, 1, 2}


def test_classes_are_those_asked_for() -> None:
    whole = table()
    kept = np.setdiff1d(np.arange(len(whole.x)), whole.rows(user=1, **{"class": 0}))
    columns = {name: column[kept] for name, column in whole.columns.items()}
    part = by_group(Table(whole.x[kept], columns, whole.names), "user", USERS, classes=["right"])
    assert part.groups == USERS  # who lacks only what is not asked for stays
    assert part.classes == ("right",)
    assert (part.group(1).take(0, np.arange(EACH))[:, 1] == 1).all()


def test_a_user_without_some_class_is_left_out() -> None:
    whole = table()
    lacking = whole.rows(user=1, **{"class": 0})
    kept = np.setdiff1d(np.arange(len(whole.x)), lacking)
    columns = {name: column[kept] for name, column in whole.columns.items()}
    part = Table(whole.x[kept], columns, whole.names)
    assert by_group(part, "user", USERS).groups == ("ana", "cid")
    with pytest.raises(SampleError, match="no user has samples of all of left, right"):
        by_group(part, "user", ["ben"])


def _csv(path: Path, rows: Sequence[str]) -> str:
    path.write_text("a,user,label,b\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_persons_own_table_in_csv(tmp_path: Path) -> None:
    rows = [f"{u}{k}{n},{USERS[u]},{CLASSES[k]},7" for u in range(3) for k in range(2) for n in range(4)]
    path = _csv(tmp_path / "moves.csv", rows)
    source = open_source(f"users:{path}")
    assert isinstance(source, GroupSource)
    assert (source.groups, tuple(source.classes), source.sample_shape) == (USERS, CLASSES, (2,))
    assert source.group(2).take(1, np.array([3])).tolist() == [[213, 7]]
    train, test = open_source(f"users:{path}", without=["ben"]), open_source(f"users:{path}", only=["ben"])
    assert isinstance(train, GroupSource)
    assert isinstance(test, GroupSource)
    assert (train.groups, test.groups) == (("ana", "cid"), ("ben",))
    with pytest.raises(SampleError, match="no user 'dan', expected some of ana, ben, cid"):
        open_source(f"users:{path}", only=["dan"])
    with pytest.raises(SampleError, match="no plain set of classes"):
        open_classes(f"users:{path}")


def test_a_persons_own_table_in_npz(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.uint8).reshape(12, 2)
    y, user = np.arange(12) % 2, np.repeat(["ana", "ben"], 6)
    np.savez(tmp_path / "t.npz", x=x, y=y, user=user)
    source = open_source(f"users:{tmp_path / 't.npz'}")
    assert isinstance(source, GroupSource)
    assert np.allclose(source.group(1).take(0, np.array([0])) * 255, [[12, 13]])


def test_who_it_was_must_be_said_for_every_sample(tmp_path: Path) -> None:
    path = _csv(tmp_path / "t.csv", ["1,ana,left,2", "3,,right,4"])
    with pytest.raises(SampleError, match="1 samples say in 'user' whose they are, expected all 2"):
        open_source(f"users:{path}")
    np.savez(tmp_path / "t.npz", x=np.zeros((2, 3)), y=[0, 1])
    with pytest.raises(SampleError, match="0 samples say in 'user'"):
        open_source(f"users:{tmp_path / 't.npz'}")


def test_classes_drawn_from_a_group_may_be_fewer() -> None:
    members = [np.arange(4) + 4 * c for c in range(5)]
    whole = Table(np.arange(20.0)[:, None], {}, {})
    source = TableSource(whole, [f"c{i}" for i in range(5)], members)
    orders = {sample(source, 3, 1, 1, 0, index).classes for index in range(10)}
    assert len(orders) > 3
