"""Models and sessions."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from regrow.model import Model
from regrow.serve import learning, renaming, schemas, sessions
from regrow.serve.core import Core
from regrow.serve.records import SessionRow
from regrow.serve.routes.common import GONE, PROBLEMS, CoreOf, Owner, SessionId, erased

router = APIRouter(responses=PROBLEMS)


def session_body(row: SessionRow) -> dict[str, Any]:
    """What is said of a session in a list."""
    plain = dataclasses.asdict(row)
    return {key: plain[key] for key in ("id", "model", "name", "created", "touched")}


def _model_body(core: Core, model: Model) -> dict[str, Any]:
    return {**learning.describe(model), "rate": core.rate(model)}


@router.get("/models", response_model=list[schemas.ModelBody], tags=["models"])
def models(core: CoreOf) -> Any:
    """The bundles that are served."""
    return [_model_body(core, model) for model in core.models.values()]


@router.get("/models/{model}", response_model=schemas.ModelBody, tags=["models"])
def model(core: CoreOf, model: str = Path(max_length=200)) -> Any:
    """One bundle, by digest or name."""
    return _model_body(core, core.model(model))


@router.post("/sessions", response_model=schemas.SessionBody, status_code=201, tags=["sessions"])
def create(core: CoreOf, owner: Owner, body: schemas.SessionRequest) -> Any:
    """Open a session."""
    return session_body(sessions.create(core, owner, body.model, body.name, body.delta))


@router.get("/sessions", response_model=list[schemas.SessionBody], tags=["sessions"])
def listed(core: CoreOf, owner: Owner) -> Any:
    """Your sessions."""
    return [session_body(row) for row in sessions.listed(core, owner)]


@router.get("/sessions/{id}", response_model=schemas.SessionDetails, tags=["sessions"])
def details(core: CoreOf, owner: Owner, id: SessionId) -> Any:
    """A session, its samples, and what its last adaptation did."""
    found = sessions.details(core, owner, id)
    samples = [dataclasses.asdict(sample) for sample in found.pop("samples")]
    return {**session_body(found.pop("row")), **found, "samples": samples}


@router.patch("/sessions/{id}", status_code=204, tags=["sessions"])
def rename(core: CoreOf, owner: Owner, id: SessionId, body: schemas.NameRequest) -> Response:
    """Give a session another name."""
    sessions.rename(core, owner, id, body.name)
    return Response(status_code=204)


@router.delete("/sessions/{id}", status_code=204, responses=GONE, tags=["sessions"])
def erase(core: CoreOf, owner: Owner, id: SessionId) -> Response:
    """Erase a session with its samples and all it learned, from the disk too."""
    return erased(sessions.erase(core, owner, id))


@router.patch("/sessions/{id}/classes", status_code=204, responses=GONE, tags=["sessions"])
def rename_class(
    core: CoreOf,
    owner: Owner,
    id: SessionId,
    label: Annotated[schemas.Name, Query(description="the class as it is called now")],
    body: schemas.NameRequest,
) -> Response:
    """Give a class another name: its samples, what was learned, and all that undo can reach."""
    return erased(renaming.rename(core, owner, id, label, body.name))
