"""Stands before the application: who may come in, how much they may bring, what is said about it afterwards.

The whole body is read here, under limits of size and time, before anything parses it. Whatever goes wrong
further in leaves as a problem document; a traceback never leaves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread

from regrow.serve import inputs, logs, problems
from regrow.serve.auth import Tokens
from regrow.serve.failures import problem_of
from regrow.serve.limits import Limits
from regrow.serve.metrics import Metrics
from regrow.serve.problems import ProblemError
from regrow.serve.rate import Rate

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OWNER = "regrow.owner"
DELTA = "application/octet-stream"
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
# Says nothing about anyone, so that a probe needs no token.
OPEN = ("/v1/health", "/v1/ready", "/v1/openapi.json")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "cache-control": "no-store",
}

log = logging.getLogger(logs.NAME)


class Guard:
    """An ASGI application around another. `hosts` are the names it answers to; None means any."""

    def __init__(
        self, app: App, tokens: Tokens, limits: Limits, metrics: Metrics, hosts: frozenset[str] | None
    ) -> None:
        self._app, self._tokens, self._limits, self._metrics = app, tokens, limits, metrics
        self._hosts = hosts
        self._rate = Rate(limits.requests_per_second, limits.burst)
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer, began = _Answer(send), time.perf_counter()
        self._inside += 1
        try:
            await self._admit(scope)
            await self._app(scope, _replay(await self._body(scope, receive), receive), answer)
        except Exception as error:
            # Once an answer has begun it can only end; its error was logged where it was made.
            if not answer.status:
                await answer.refuse(problem_of(error))
        finally:
            self._inside -= 1
            self._record(scope, answer.status, time.perf_counter() - began)

    async def _admit(self, scope: Scope) -> None:
        if self._inside > self._limits.connections:
            raise ProblemError(
                "overloaded",
                f"requests: {self._inside} at once, expected at most {self._limits.connections}; try again",
                headers={"retry-after": "1"},
                limit=self._limits.connections,
            )
        headers = _headers(scope)
        self._check_host(headers)
        _check_origin(scope["method"], headers)
        if self._tokens.stale:
            await to_thread.run_sync(self._tokens.refresh)
        guarded = scope["path"].startswith(("/v1", "/metrics")) and scope["path"] not in OPEN
        owner = self._tokens.owner(headers.get("authorization")) if guarded else ""
        client = owner or str((scope.get("client") or ("",))[0])
        if (wait := self._rate.wait(client)) > 0:
            raise ProblemError(
                "rate",
                f"requests: over {self._limits.requests_per_second:g} per second, expected fewer; wait",
                headers={"retry-after": str(int(wait) + 1)},
            )
        if owner is None:
            raise ProblemError(
                "no-token",
                "request: no valid token, expected Authorization: Bearer TOKEN; make one where the service "
                "runs with `regrow serve --new-token NAME`",
                headers={"www-authenticate": 'Bearer realm="regrow"'},
            )
        scope[OWNER] = owner

    def _check_host(self, headers: dict[str, str]) -> None:
        """A page elsewhere can point a name of its own at this machine; it cannot change what is in Host."""
        name = _host(headers.get("host", ""))
        if self._hosts is not None and name not in self._hosts:
            raise ProblemError(
                "wrong-host",
                f"host: {name[:80]!r}, expected one of {', '.join(sorted(self._hosts))}; use that address",
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = _headers(scope)
        most = self._limits.body_bytes
        if inputs.media_type(headers.get("content-type")) == DELTA:
            most = max(most, self._limits.delta_bytes)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise _too_large(int(declared), most)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _read(receive, most)
        except TimeoutError:
            raise ProblemError("slow-request", "body: did not arrive in time; send it again") from None

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        method = scope["method"] if scope["method"] in {"GET", *CHANGING} else "other"
        self._metrics.count("regrow_requests_total", method=method, route=route, status=str(status))
        self._metrics.observe("regrow_request_seconds", seconds, route=route)
        facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1e3, 2)}
        log.info("request", extra={"facts": facts})


class _Answer:
    """`send` with the headers every answer has; remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            have = {name.lower() for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in have]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)

    async def refuse(self, problem: ProblemError) -> None:
        """Answer with a problem."""
        body = problem.encode()
        fixed = {"content-type": problems.MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
        headers = [(n.encode(), v.encode()) for n, v in {**problem.headers, **fixed}.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _route(scope: Scope) -> str:
    """The pattern that matched, never the address itself: that names a session."""
    path = str(getattr(scope.get("route"), "path", "other"))
    inside = scope["path"].startswith("/v1/") and path.startswith("/") and not path.startswith("/v1/")
    return f"/v1{path}" if inside else path


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _check_origin(method: str, headers: dict[str, str]) -> None:
    """A browser says where a request comes from; only this service's own page may change anything."""
    if method not in CHANGING:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site is not None and site not in ("same-origin", "none")
    if foreign or (origin is not None and urlsplit(origin).netloc != headers.get("host", "")):
        raise ProblemError(
            "foreign-origin",
            "origin: another site, expected the service's own page; open that, or use a program",
        )


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError("bad-request", "body: the client left")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(size, most)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(found: int, most: int) -> ProblemError:
    return ProblemError(
        "too-large",
        f"body: {found} bytes or more, expected at most {most}; send less",
        found=found,
        limit=most,
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then whatever the connection says (that it closed)."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay
