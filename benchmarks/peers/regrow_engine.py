"""regrow itself: a bundle on an engine, through the interface a user has. Option: the engine's name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numpy.typing import NDArray

import regrow
from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import STEPS
from regrow import engines
from regrow.errors import UnsupportedError

BUNDLE = "model.regrow"


class Session:
    """A session per adaptation; opening it is not timed, as putting weights back is not for others."""

    def __init__(self, case: Case, options: list[str]) -> None:
        self.path = case.folder / BUNDLE
        try:
            self.model = regrow.open(self.path, engine=options[0], threads=threads())
        except UnsupportedError as error:
            raise NotImplementedError(str(error)) from None
        self.case = case
        self.session = self.model.session()

    def reset(self) -> None:
        self.session = self.model.session()

    def adapt(self, steps: int) -> None:
        self.session.adapt(self.case.x, self.case.y, steps=None if steps == STEPS else steps)

    def predict(self, query: NDArray[Any]) -> NDArray[Any]:
        return self.session.predict(query).logits

    def artifact_bytes(self) -> int:
        return self.path.stat().st_size


def imports() -> None:
    """What each engine loads is known when it is opened."""
    import_module("regrow.session")


def load(case: Case, options: list[str]) -> Session:
    """Import the engine's own library before the model."""
    engines.pick(options[0])
    import_module(engines.ENGINES[options[0]].path.partition(":")[0]).load()
    return Session(case, options)


def about(subject: Session) -> dict[str, int]:
    """The plan's figure, beside what is measured."""
    return {"planned_bytes": subject.model.peak_bytes(len(subject.case.x))}


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, load, about=about)))
