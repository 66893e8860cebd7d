"""What every operation of the service works on: models, the store, the queue, and the live sessions."""

from __future__ import annotations

from collections.abc import Mapping

from regrow.model import Model
from regrow.serve import sound
from regrow.serve.limits import Limits
from regrow.serve.live import LiveSessions
from regrow.serve.metrics import Metrics
from regrow.serve.problems import ProblemError
from regrow.serve.store import Store
from regrow.serve.worker import Worker


class Core:
    """May be used by any thread."""

    def __init__(
        self,
        store: Store,
        models: Mapping[str, Model],
        limits: Limits,
        metrics: Metrics,
        workers: int = 1,
        rates: Mapping[str, int] | None = None,
    ) -> None:
        self.store, self.models, self.limits, self.metrics = store, dict(models), limits, metrics
        self._rates = dict(rates or {})
        self.live = LiveSessions(store, self.models)
        self.worker = Worker(workers, limits.queue, metrics)

    def model(self, key: str, field: str | None = None) -> Model:
        """A model by digest, or by name where only one has it; `field` says where, if not in the address."""
        named = [m for m in self.models.values() if m.name == key]
        found = self.models.get(key) or (named[0] if len(named) == 1 else None)
        if found is None:
            detail = (
                f"model {key[:80]!r}: not served, or one of several so named, expected a digest; "
                "list the models"
            )
            if field is None:
                raise ProblemError("not-found", detail)
            # The address was found; what is wrong is said as for any other field.
            raise ProblemError("invalid", detail, errors=[{"where": field, "what": "no such model"}])
        return found

    def rate(self, model: Model) -> int:
        """How many values per second the signals of a model have, as whoever started the service said."""
        return self._rates.get(model.name, self._rates.get("", sound.RATE))

    def refuse_busy(self, id: str) -> None:
        """Nothing may move below an adaptation."""
        if self.worker.busy(id):
            raise ProblemError("busy", "session: it is learning; wait until it has finished")

    def close(self) -> None:
        """Finish or roll back what runs, then let go of the file."""
        self.worker.close(self.limits.grace_seconds)
        self.store.close()
