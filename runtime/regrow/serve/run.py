"""Start the service on a port: open the bundles, hold the data, serve until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import uvicorn

from regrow import selftest
from regrow.errors import RegrowError
from regrow.files import StrPath
from regrow.model import Model
from regrow.model import open as open_model
from regrow.serve import app, logs, memory
from regrow.serve.auth import Tokens
from regrow.serve.connection import connection
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
    names: Sequence[str] = ()
    engine: str = "auto"
    threads: int = 1
    budget_bytes: int | None = None
    workers: int = 1
    certificate: str | None = None
    key: str | None = None
    rates: Mapping[str, int] = field(default_factory=dict)
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


def reachable(settings: Settings) -> bool:
    """Whether others than this machine can reach the service, by itself or through a proxy."""
    return settings.host not in LOOPBACK or bool(settings.names)


def hosts(settings: Settings) -> frozenset[str] | None:
    """The names the service answers to, None for any."""
    if settings.host not in LOOPBACK:
        return None
    return LOOPBACK | {name.lower() for name in settings.names}


def tokens(settings: Settings, store: Store) -> Tokens:
    """Who may come in. Beyond this machine a token must exist first."""
    made = Tokens(store, required=reachable(settings))
    if reachable(settings) and not made.any:
        where = f"name {settings.names[0]}" if settings.host in LOOPBACK else f"host {settings.host}"
        raise RegrowError(
            f"{where}: others can reach it, expected a token to keep them out; make one with `regrow "
            "serve --new-token NAME` and the same --data, or leave --host and --name out"
        )
    return made


def _check_certificate(settings: Settings) -> None:
    if settings.certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
    except OSError as error:  # one of OpenSSL is an OSError, too
        raise RegrowError(
            f"{settings.certificate}: cannot be used for TLS ({error.strerror or error}), expected PEM files "
            "of a certificate and its key; check both"
        ) from error


def _check_rates(rates: Mapping[str, int], models: Mapping[str, Model]) -> None:
    known = {model.name for model in models.values()}
    for name in rates:
        if name and name not in known:
            raise RegrowError(
                f"rate of {name}: no such model, expected one of {', '.join(sorted(known))}; "
                "check the spelling"
            )


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
    _check_certificate(settings)
    opened = models(settings)
    _check_rates(settings.rates, opened)
    store = Store(settings.data)
    try:
        allowed = tokens(settings, store)
        listener = _listen(settings)
    except BaseException:
        store.close()
        raise
    core = Core(store, opened, settings.limits, Metrics(), settings.workers, settings.rates)
    config = uvicorn.Config(
        app.build(core, allowed, hosts(settings)),
        log_config=None,
        access_log=False,
        server_header=False,
        http=connection(settings.limits.header_seconds),
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
    memory.keep_small()
    prepared = prepare(settings)
    if settings.host not in LOOPBACK and not settings.certificate:
        log.warning(
            "no TLS", extra={"facts": {"hint": "others on the network can read along: --cert, --key"}}
        )
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
