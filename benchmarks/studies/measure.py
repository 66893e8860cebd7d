"""Accuracy of a bundle on held-out users, run by the runtime; and of nearest class mean without a network.

Every score belongs to one user: what is reported, and resampled for intervals, are users, not episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regrow
from benchmarks.studies.episodes import OTHERS_SEED, TEST_SEED, drawn
from benchmarks.studies.study import Features, Study
from regrow.datasets.table import GroupedTable
from regrow.episodes import Episode
from regrow.errors import AdaptError
from regrow.model import Model
from regrow.progress import Progress
from regrow.session import Session

Users = Mapping[str, GroupedTable]
Labels = NDArray[np.int64]
# Of each other user, samples per class that forgetting is measured on; one shot only gives it to the sampler.
_OTHERS = 4


def measured(study: Study, users: Users, path: Path, *, metric: bool, label: str) -> dict[str, Any]:
    """Scores of a bundle: user -> before, and after so many shots; of stepping rules also on the others."""
    model = regrow.open(path)
    found: dict[str, Any] = {
        "bytes": path.stat().st_size,
        "steps": model.rule.steps,
        "engine": model.engine.name,
    }
    made: dict[str, dict[str, Any]] = {name: {"before": [], "after": {}} for name in users}
    forgets = not metric and len(users) > 1
    others = {name: _others(users, name) for name in users} if forgets else {}
    rolled_back = 0
    with Progress(len(users) * len(study.shots), label) as progress:
        for done, (name, shots, episodes) in enumerate(_every(study, users), 1):
            scores = []
            for episode in episodes:
                session = model.session()
                if not metric:
                    made[name]["before"].append(_accuracy(session, episode))
                rolled_back += not _adapted(session, episode)
                scores.append(_accuracy(session, episode))
                if shots == study.main_shots and forgets:
                    made[name].setdefault("others", []).append(_right(session, *others[name]))
            made[name]["after"][str(shots)] = float(np.mean(scores))
            progress.update(done, accuracy=float(np.mean(scores)))
    for name, user in made.items():
        user["before"] = float(np.mean(user["before"])) if user["before"] else None
        if forgets:
            user["others"] = float(np.mean(user["others"]))
            user["others_before"] = _right(model.session(), *others[name])
    return {**found, "rolled_back": rolled_back, "users": made}


def raw_means(study: Study, users: Users, trained: Users | None) -> dict[str, Any]:
    """Nearest class mean on the study's fixed features; before, of the means over `trained` users if any."""
    made: dict[str, dict[str, Any]] = {name: {"before": [], "after": {}} for name in users}
    known = None if trained is None else _pooled(study.features, trained)
    for name, shots, episodes in _every(study, users):
        queries = [(study.features(e.query_x), e.query_y) for e in episodes]
        if known is not None:
            made[name]["before"] += [np.mean(_closest(x, known) == y) for x, y in queries]
        made[name]["after"][str(shots)] = float(np.mean([_nearest(study.features, e) for e in episodes]))
    for user in made.values():
        user["before"] = float(np.mean(user["before"])) if user["before"] else None
    return {"bytes": None, "steps": None, "rolled_back": 0, "users": made}


def agreement(study: Study, users: Users, path: Path, engines: Sequence[str]) -> float:
    """The share of queries that two engines answer alike after adapting, over the main number of shots."""
    models = [regrow.open(path, engine=engine) for engine in engines]
    same = []
    for user in users.values():
        for episode in drawn(user, study.main_shots, study.queries, 1, TEST_SEED):
            first, second = (_labels(_after(model, episode), episode.query_x) for model in models)
            same.append(np.mean(first == second))
    return float(np.mean(same))


def _every(study: Study, users: Users) -> Iterator[tuple[str, int, list[Episode]]]:
    for name, user in users.items():
        for shots in study.shots:
            yield name, shots, drawn(user, shots, study.queries, study.draws, TEST_SEED)


def _others(users: Users, name: str) -> tuple[NDArray[np.float32], Labels]:
    """A few samples of each class of all users but one."""
    parts = [drawn(user, 1, _OTHERS, 1, OTHERS_SEED)[0] for other, user in users.items() if other != name]
    return np.concatenate([e.query_x for e in parts]), np.concatenate([e.query_y for e in parts])


def _after(model: Model, episode: Episode) -> Session:
    session = model.session()
    _adapted(session, episode)
    return session


def _adapted(session: Session, episode: Episode) -> bool:
    """Whether it learned; where it rolls back the device goes on unadapted, and is scored so."""
    try:
        session.adapt(episode.support_x, episode.support_y)
    except AdaptError:
        return False
    return True


def _labels(session: Session, x: NDArray[np.float32]) -> Labels:
    made: Labels = session.predict(x).logits.argmax(1)
    return made


def _right(session: Session, x: NDArray[np.float32], y: Any) -> float:
    return float(np.mean(_labels(session, x) == y))


def _accuracy(session: Session, episode: Episode) -> float:
    return _right(session, episode.query_x, episode.query_y)


def _pooled(features: Features, users: Users) -> NDArray[Any]:
    """The mean of every class over all samples of all users."""
    sources = [user.group(0) for user in users.values()]
    ways = len(sources[0].classes)
    return np.stack(
        [
            np.concatenate([features(s.take(c, np.arange(s.samples(c)))) for s in sources]).mean(0)
            for c in range(ways)
        ]
    )


def _nearest(features: Features, episode: Episode) -> float:
    support = features(episode.support_x)
    means = np.stack([support[episode.support_y == c].mean(0) for c in range(len(episode.classes))])
    return float(np.mean(_closest(features(episode.query_x), means) == episode.query_y))


def _closest(x: NDArray[Any], means: NDArray[Any]) -> Labels:
    made: Labels = ((x[:, None].astype(np.float64) - means[None]) ** 2).sum(2).argmin(1)
    return made
