"""Health, readiness, metrics, and the page."""

from __future__ import annotations

import time
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response

import regrow
from regrow.serve import metrics, records, schemas
from regrow.serve.core import Core
from regrow.serve.page import Asset
from regrow.serve.problems import ProblemError
from regrow.serve.routes.common import PROBLEMS, CoreOf

router = APIRouter(responses=PROBLEMS, tags=["operations"])


@router.get("/v1/health", response_model=schemas.HealthBody)
async def health() -> Any:
    """The process lives and answers."""
    return {"status": "ok", "version": regrow.__version__}


@router.get("/v1/ready", response_model=schemas.HealthBody)
async def ready(core: CoreOf) -> Any:
    """Requests can be served: models are open, and the disk takes what is written."""
    try:
        await to_thread.run_sync(core.store.probe)
    except Exception as error:
        raise ProblemError(
            "not-ready", "storage: cannot be written; free space or make it writable"
        ) from error
    return {"status": "ok", "version": regrow.__version__}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def figures(core: CoreOf, request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(core.metrics.render(_gauges(core, request)), media_type=metrics.MEDIA_TYPE)


def _gauges(core: Core, request: Request) -> dict[str, dict[metrics.Labels, float]]:
    with core.store.reading() as db:
        rows = records.totals(db)
    return {
        "regrow_queue": {(): len(core.worker)},
        "regrow_rows": {(("table", name),): count for name, count in rows.items()},
        "regrow_store_bytes": {(): core.store.bytes()},
        "regrow_up_seconds": {(): time.monotonic() - request.app.state.began},
    }


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page."""
    return _asset(request, "index.html")


@router.get("/static/{name}", include_in_schema=False)
async def static(request: Request, name: str) -> Response:
    """A part of the page."""
    return _asset(request, name)


def _asset(request: Request, name: str) -> Response:
    table: dict[str, Asset] = request.app.state.assets
    if name not in table:
        raise ProblemError("not-found", "page: no such part; open / instead")
    asset = table[name]
    headers = {"etag": asset.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.type, headers=headers)
