"""`python -m regrow.bench.engine BUNDLE EPISODE ENGINE`: a runtime engine as the subject of a benchmark."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from regrow import engines
from regrow.bench.subject import Episode, read_episode, serve
from regrow.model import Model, open


class EngineSubject:
    """A fresh session per adaptation, as a device would begin one."""

    def __init__(self, model: Model, episode: Episode) -> None:
        self._model, self._episode = model, episode
        self._session = model.session()

    def adapt(self) -> None:
        self._session = self._model.session()
        self._session.adapt(self._episode.x, self._episode.y)

    def predict(self, count: int) -> NDArray[Any]:
        return self._session.predict(self._episode.query[:count]).logits


def main(bundle: str, episode: str, engine: str) -> int:
    """Serve until told to quit."""
    engines.pick(engine)
    import_module(engines.ENGINES[engine].path.partition(":")[0]).load()  # what is loaded counts as that
    return serve(lambda: EngineSubject(open(bundle, engine=engine), read_episode(episode)))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
