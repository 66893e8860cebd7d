"""Start the service on a port: open the bundles, hold the data, serve until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvicorn

from regrow import selftest
from regrow.errors import RegrowError
from regrow.files import StrPath
from regrow.model import Model
from regrow.model import open as open_model
from regrow.serve import app, logs
from regrow.serve.auth import Tokens
from regrow.serve.core import Core
from regrow.serve.guard import LOOPBACK
from regrow.serve.limits import Limits
from regrow.serve.metrics import Metrics
from regrow.serve.store import Store

log = logging.getLogger(logs.NAME)


@dataclass(frozen=True)
class Settings:
    """Everything `regrow serve` can be told."""

    bundles: Sequence[StrPath]
    data: StrPath
    host: str = "127.0.0.1"
    port: int = 8377
    engine: str = "auto"
    threads: int = 1
    budget_bytes: int | None = None
    workers: int = 1
    certificate: str | None = None
    key: str | None = None
    limits: Limits = field(default_factory=Limits)


def models(settings: Settings) -> dict[str, Model]:
    """The bundles by digest, each run once on its own episode: that proves and warms the engine."""
    made: dict[str, Model] = {}
    for path in settings.bundles:
        model = open_model(
            path, engine=settings.engine, budget_bytes=settings.budget_bytes, threads=settings.threads
        )
        if (gap := selftest.check(model.bundle, model.engine)) is not None:
            log.warning("self-test", extra={"facts": {"model": model.name, "gap": gap}})
        made[model.digest] = model
    return made


def check_host(host: str, tokens: Tokens) -> frozenset[str] | None:
    """The names the service answers to. Beyond this machine a token must exist first."""
    if host in LOOPBACK:
        return LOOPBACK
    if not tokens.needed:
        raise RegrowError(
            f"host {host}: others can reach it, expected a token to keep them out; make one with `regrow "
            "serve --new-token NAME` and the same --data, or leave --host out"
        )
    return None


class Server(uvicorn.Server):
    """Tells those who wait or learn that it stops, while their connections are still open."""

    def __init__(self, config: uvicorn.Config, core: Core) -> None:
        super().__init__(config)
        self._core = core

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish or roll back adaptations, then let the connections end."""
        grace = self._core.limits.grace_seconds
        await asyncio.gather(
            asyncio.to_thread(self._core.worker.close, grace), super().shutdown(sockets=sockets)
        )


@dataclass(frozen=True)
class Prepared:
    """A service that holds its data and its port but does not answer yet."""

    server: Server
    listener: socket.socket
    core: Core
    url: str

    def run(self) -> None:
        """Answer until told to stop; then finish or roll back what runs."""
        self.server.run([self.listener])


def prepare(settings: Settings) -> Prepared:
    """Open the bundles, hold the data, take the port; on any refusal nothing stays open."""
    opened = models(settings)
    store = Store(settings.data)
    try:
        tokens = Tokens(store)
        hosts = check_host(settings.host, tokens)
        listener = _listen(settings)
    except BaseException:
        store.close()
        raise
    core = Core(store, opened, settings.limits, Metrics(), settings.workers)
    config = uvicorn.Config(
        app.build(core, tokens, hosts),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=False,  # whoever sends them could choose whose rate is counted
        limit_concurrency=4
        * settings.limits.connections,  # idle ones too; beyond it there is no problem body
        timeout_graceful_shutdown=int(2 * settings.limits.grace_seconds) + 1,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    scheme = "https" if settings.certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{scheme}://{host}:{listener.getsockname()[1]}"
    return Prepared(Server(config, core), listener, core, url)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    logs.start()
    prepared = prepare(settings)
    names = ", ".join(model.name for model in prepared.core.models.values())
    print(f"Serving {names} on {prepared.url}/", flush=True)
    prepared.run()
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named as TCP, because asyncio switches Nagle's algorithm (40 ms per answer) off only where it knows.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(128)  # so that whoever reads the address can connect, if a moment early
    except (OSError, OverflowError) as error:
        listener.close()
        raise RegrowError(
            f"{settings.host}:{settings.port}: cannot be listened on ({error}); choose another port or host"
        ) from error
    return listener
