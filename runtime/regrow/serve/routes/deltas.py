"""Saved calibrations: kept, listed, handed out, taken in."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from regrow.serve import inputs, saved, schemas
from regrow.serve.failures import problem_of
from regrow.serve.guard import DELTA
from regrow.serve.problems import ProblemError
from regrow.serve.records import DeltaRow
from regrow.serve.routes.common import BINARY, GONE, PROBLEMS, CoreOf, Owner, SessionId, erased

router = APIRouter(responses=PROBLEMS, tags=["deltas"])

DeltaId = Annotated[str, Path(max_length=80, description="id of a saved calibration")]
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {DELTA: {"schema": BINARY}}}}
_UPLOAD = {"requestBody": {"required": True, "content": {DELTA: {"schema": BINARY}}}}


def _body(row: DeltaRow) -> dict[str, Any]:
    plain = dataclasses.asdict(row)
    del plain["owner"]
    return plain


@router.post("/sessions/{id}/deltas", response_model=schemas.DeltaBody, status_code=201)
def save(core: CoreOf, owner: Owner, id: SessionId, body: schemas.NameRequest) -> Any:
    """Keep what a session has learned under a name."""
    return _body(saved.save(core, owner, id, body.name))


@router.get("/deltas", response_model=list[schemas.DeltaBody])
def listed(core: CoreOf, owner: Owner) -> Any:
    """Your saved calibrations."""
    return [_body(row) for row in saved.listed(core, owner)]


@router.post("/deltas", response_model=schemas.DeltaBody, status_code=201, openapi_extra=_UPLOAD)
async def upload(
    core: CoreOf,
    owner: Owner,
    request: Request,
    model: Annotated[str, Query(max_length=200, description="digest or name of its model")],
    name: Annotated[schemas.Name, Query(description="what to call it")],
) -> Any:
    """Take in a .delta file; one of another bundle, or one that moves what must not move, is refused."""
    if inputs.media_type(request.headers.get("content-type")) != DELTA:
        raise ProblemError("media-type", f"body: expected {DELTA}; send the bytes of a .delta file")
    body = await request.body()

    def work() -> dict[str, Any]:
        wanted = core.model(model, "query.model")
        try:
            return _body(saved.upload(core, owner, wanted, name, body))
        except Exception as error:
            raise problem_of(error, wanted.bundle.path) from error

    return await to_thread.run_sync(work)


@router.get("/deltas/{id}", response_model=schemas.DeltaBody)
def one(core: CoreOf, owner: Owner, id: DeltaId) -> Any:
    """One saved calibration."""
    return _body(saved.one(core, owner, id)[0])


@router.get("/deltas/{id}/file", response_class=Response, responses=_FILE)
def download(core: CoreOf, owner: Owner, id: DeltaId) -> Response:
    """The .delta file, which `regrow predict --delta` and `Model.session` read."""
    row, data = saved.one(core, owner, id)
    plain = re.sub(r"[^A-Za-z0-9]+", "-", row.name).strip("-").lower() or "calibration"
    return Response(
        data, media_type=DELTA, headers={"content-disposition": f'attachment; filename="{plain}.delta"'}
    )


@router.delete("/deltas/{id}", status_code=204, responses=GONE)
def erase(core: CoreOf, owner: Owner, id: DeltaId) -> Response:
    """Erase a saved calibration, from the disk too."""
    return erased(saved.erase(core, owner, id))
