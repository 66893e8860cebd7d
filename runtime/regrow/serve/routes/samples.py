"""Samples of a session and predictions: both take images, tables, recordings and arrays."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from regrow.serve import answers, inputs, schemas, support
from regrow.serve.core import Core
from regrow.serve.routes.common import (
    BINARY,
    GONE,
    PROBLEMS,
    At,
    CoreOf,
    Owner,
    SampleId,
    SessionId,
    accepts,
    erased,
    sample_body,
)

router = APIRouter(responses=PROBLEMS)

# Predictions have threads of their own, so that nothing that waits for the disk is before them.
PREDICTING = 4
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {inputs.NPY: {"schema": BINARY}, "image/png": {"schema": BINARY}}}
}
_ARRAY: dict[int | str, dict[str, Any]] = {200: {"content": {inputs.NPY: {"schema": BINARY}}}}


@router.post(
    "/sessions/{id}/samples",
    response_model=schemas.SamplesBody,
    status_code=201,
    openapi_extra=sample_body(),
    tags=["samples"],
)
async def add(
    core: CoreOf,
    owner: Owner,
    id: SessionId,
    request: Request,
    label: Annotated[schemas.Name, Query(description="class, or the target numbers of a regression")],
    held_back: Annotated[bool, Query(description="keep for checking")] = False,
    allow_blank: Annotated[bool, Query(description="take samples whose values are all equal")] = False,
) -> Any:
    """Give one or more samples of one class."""
    body, kind = await request.body(), request.headers.get("content-type")

    def work() -> Any:
        model = core.live.get(owner, id).model
        x = inputs.decode(kind, body, model.input, core.limits, core.rate(model))
        made = support.add(core, owner, id, label, x, held_back=held_back, allow_blank=allow_blank)
        return {"samples": [dataclasses.asdict(row) for row in made]}

    return await to_thread.run_sync(work)


@router.get(
    "/sessions/{id}/samples/{sample}", response_model=schemas.NumbersBody, responses=_FORMS, tags=["samples"]
)
def show(core: CoreOf, owner: Owner, id: SessionId, sample: SampleId, request: Request) -> Any:
    """A sample as numbers, or as `Accept` asks: .npy, or for images PNG."""
    live, x = support.one(core, owner, id, sample)
    if accepts(request, inputs.NPY):
        return Response(inputs.pack(x), media_type=inputs.NPY)
    if live.model.input.kind == "image" and accepts(request, "image/"):
        return Response(inputs.picture(x, live.model.input), media_type="image/png")
    return {"x": x.tolist()}


@router.patch("/sessions/{id}/samples/{sample}", status_code=204, tags=["samples"])
def hold_back(
    core: CoreOf, owner: Owner, id: SessionId, sample: SampleId, body: schemas.HeldBackRequest
) -> Response:
    """Keep a sample for checking, or learn from it."""
    support.hold_back(core, owner, id, sample, body.held_back)
    return Response(status_code=204)


@router.delete("/sessions/{id}/samples/{sample}", status_code=204, responses=GONE, tags=["samples"])
def erase_one(core: CoreOf, owner: Owner, id: SessionId, sample: SampleId) -> Response:
    """Erase a sample, from the disk too. What was learned from it stays until undo, reset or erasure."""
    return erased(support.erase(core, owner, id, sample, None))


@router.delete("/sessions/{id}/samples", status_code=204, responses=GONE, tags=["samples"])
def erase(core: CoreOf, owner: Owner, id: SessionId, label: schemas.Name | None = None) -> Response:
    """Erase all samples of a session, or those of one class."""
    return erased(support.erase(core, owner, id, None, label))


@router.post(
    "/sessions/{id}/predict",
    response_model=schemas.PredictionBody,
    response_model_exclude_none=True,
    responses=_ARRAY,
    openapi_extra=sample_body(),
    tags=["predict"],
)
async def predict(core: CoreOf, owner: Owner, id: SessionId, request: Request, at: At = "now") -> Response:
    """Label samples, or with `Accept: application/x-npy` the bare array of probabilities (or values)."""
    body, kind = await request.body(), request.headers.get("content-type")
    binary, limiter = accepts(request, inputs.NPY), request.app.state.predicting

    def work() -> Response:
        return _predicted(core, owner, id, (kind, body), binary=binary, before=at == "before")

    return await to_thread.run_sync(work, limiter=limiter)


def _predicted(
    core: Core, owner: str, id: str, given: tuple[str | None, bytes], *, binary: bool, before: bool
) -> Response:
    model = core.live.get(owner, id).model
    x = inputs.decode(*given, model.input, core.limits, core.rate(model))
    if binary:
        made = answers.probabilities(core, owner, id, x, before=before)
        return Response(inputs.pack(made), media_type=inputs.NPY)
    return JSONResponse(answers.predict(core, owner, id, x, before=before))


def predicting() -> CapacityLimiter:
    """The threads of predictions."""
    return CapacityLimiter(PREDICTING)
