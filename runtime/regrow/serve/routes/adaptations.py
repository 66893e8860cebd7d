"""Learning, with progress as server-sent events; undo, reset, and calibrations on top."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from regrow.serve import adaptations, problems, schemas
from regrow.serve.routes.common import PROBLEMS, CoreOf, Owner, SessionId, accepts

router = APIRouter(responses=PROBLEMS)

EVENTS = "text/event-stream"
# A proxy closes what is silent for long, and writing is how a client that left is noticed.
KEEP_ALIVE = 10.0
Event = tuple[str, dict[str, Any]]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            EVENTS: {
                "schema": {"type": "string"},
                "example": 'event: step\ndata: {"step": 1, "steps": 5, "loss": 0.71}\n\n',
            }
        }
    }
}


@router.post(
    "/sessions/{id}/adapt", response_model=schemas.ReportBody, responses=_STREAM, tags=["adaptations"]
)
async def adapt(
    core: CoreOf,
    owner: Owner,
    id: SessionId,
    request: Request,
    body: schemas.AdaptRequest = schemas.AdaptRequest(),  # noqa: B008 (frozen by use: never written)
) -> Response:
    """Learn from the samples of the session; what is answered as done is on the disk.

    With `Accept: text/event-stream` come the events `queued`, `step` (per step where the model can), and last
    `done` with the report or `problem` with a problem document. A client that leaves does not stop it.
    """
    events: asyncio.Queue[Event] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def notify(kind: str, data: dict[str, Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, (kind, data))

    before = await to_thread.run_sync(adaptations.adapt, core, owner, id, body.steps, body.start, notify)
    if accepts(request, EVENTS):
        return StreamingResponse(_stream(events, before), media_type=EVENTS)
    return _answer(await _last(events))


async def _stream(events: asyncio.Queue[Event], before: int) -> AsyncIterator[str]:
    yield _text("queued", {"before": before})
    kind = "queued"
    while kind not in ("done", "problem"):
        try:
            kind, data = await asyncio.wait_for(events.get(), KEEP_ALIVE)
            yield _text(kind, data)
        except TimeoutError:
            yield ": waiting\n\n"


def _text(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _last(events: asyncio.Queue[Event]) -> Event:
    while True:
        kind, data = await events.get()
        if kind in ("done", "problem"):
            return kind, data


def _answer(event: Event) -> Response:
    kind, data = event
    if kind == "problem":
        return JSONResponse(data, data["status"], media_type=problems.MEDIA_TYPE)
    return JSONResponse(data)


@router.post("/sessions/{id}/undo", status_code=204, tags=["adaptations"])
def undo(core: CoreOf, owner: Owner, id: SessionId) -> Response:
    """Step back one adaptation or load."""
    adaptations.undo(core, owner, id)
    return Response(status_code=204)


@router.post("/sessions/{id}/reset", status_code=204, tags=["adaptations"])
def reset(core: CoreOf, owner: Owner, id: SessionId) -> Response:
    """Back to the bundle as it came; the samples stay."""
    adaptations.reset(core, owner, id)
    return Response(status_code=204)


@router.post("/sessions/{id}/load", status_code=204, tags=["adaptations"])
def load(core: CoreOf, owner: Owner, id: SessionId, body: schemas.LoadRequest) -> Response:
    """Put a saved calibration on top of a session; undo takes it off."""
    adaptations.load(core, owner, id, body.delta)
    return Response(status_code=204)
