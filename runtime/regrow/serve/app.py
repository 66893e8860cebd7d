"""The application: routes, problems instead of errors, maintenance beside them, the guard in front."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

import regrow
from regrow.serve import memory, page, problems, sessions
from regrow.serve.auth import Tokens
from regrow.serve.core import Core
from regrow.serve.failures import problem_of
from regrow.serve.guard import Guard
from regrow.serve.problems import ProblemError
from regrow.serve.routes import adaptations, deltas, operations, samples
from regrow.serve.routes import sessions as session_routes
from regrow.serve.schemas import ProblemBody

DESCRIPTION = (
    "Teach a deployed model from a handful of labelled samples. Open a session, give it samples, "
    "adapt, predict. Every refusal is an RFC 9457 problem document."
)
MAINTENANCE_SECONDS = 60.0
_STATUS = {404: "not-found", 405: "method-not-allowed", 415: "media-type"}


def build(core: Core, tokens: Tokens, hosts: frozenset[str] | None) -> Guard:
    """The service as an ASGI application; closing it closes `core`."""
    app = FastAPI(
        title="regrow",
        version=regrow.__version__,
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        # These pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=_life,
    )
    app.state.core, app.state.began = core, time.monotonic()
    app.state.assets, app.state.predicting = page.assets(), samples.predicting()
    for router in (session_routes.router, samples.router, adaptations.router, deltas.router):
        app.include_router(router, prefix="/v1")
    app.include_router(operations.router)
    for kind in (ProblemError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refuse)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.openapi()  # now, not while the first who asks keeps others waiting
    return Guard(app, tokens, core.limits, core.metrics, hosts)


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    core: Core = app.state.core
    task = asyncio.create_task(_maintain(core))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await to_thread.run_sync(core.close)


async def _maintain(core: Core) -> None:
    """Forget stale sessions; empty a log that a backup kept from being emptied; hold no freed memory."""
    while True:
        try:
            await to_thread.run_sync(sessions.retain, core)
            await to_thread.run_sync(core.store.settle)
            await to_thread.run_sync(memory.give_back)
        except Exception as error:
            problem_of(error)
        await asyncio.sleep(MAINTENANCE_SECONDS)


async def _refuse(request: Request, error: Exception) -> Response:
    problem = _problem(request, error)
    return Response(problem.encode(), problem.status, problem.headers, problems.MEDIA_TYPE)


def _problem(request: Request, error: Exception) -> ProblemError:
    if isinstance(error, RequestValidationError):
        # What was found there stays out: it may be a sample.
        wrong = [{"where": ".".join(map(str, e["loc"])), "what": str(e["msg"])} for e in error.errors()[:8]]
        first = f"{wrong[0]['where']}: {wrong[0]['what']}" if wrong else "request"
        return ProblemError("invalid", f"{first}; see the OpenAPI at /v1/openapi.json", errors=wrong)
    if isinstance(error, HTTPException):
        kind = _STATUS.get(error.status_code, "bad-request")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["allow"] = _allowed(request.app, request.url.path)
        return ProblemError(kind, f"request: {error.detail}; see the OpenAPI at /v1/openapi.json", headers)
    core: Core = request.app.state.core
    problem = problem_of(error)
    for model in core.models.values():
        problem.detail = problem.detail.replace(model.bundle.path, "the model")
    return problem


def _allowed(app: FastAPI, path: str) -> str:
    """The methods of an address; each route by itself knows only its own."""
    found = (i for p, i in app.openapi()["paths"].items() if compile_path(p)[0].match(path))
    return ", ".join(sorted({method.upper() for item in found for method in item}))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemBody"] = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema
