"""What the routes share: the core, the owner, the documented problems, the content types of samples."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.responses import Response

from regrow.serve import inputs, problems
from regrow.serve.core import Core
from regrow.serve.guard import OWNER
from regrow.serve.schemas import ProblemBody

MAX_ID = 2**53
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {
        "description": text,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
    for code, text in (("4XX", "A refusal, in words and figures"), ("5XX", "The service cannot, for now"))
}
# So that the schema is among the components.
PROBLEM_MODEL = ProblemBody
NUMBERS = {"type": "object", "properties": {"x": {"type": "array", "items": {}}}, "required": ["x"]}
BINARY = {"type": "string", "format": "binary"}


def core(request: Request) -> Core:
    """The core of the application."""
    found: Core = request.app.state.core
    return found


def owner(request: Request) -> str:
    """Whose request it is; the guard has checked."""
    return str(request.scope.get(OWNER, ""))


CoreOf = Annotated[Core, Depends(core)]
Owner = Annotated[str, Depends(owner)]
SessionId = Annotated[str, Path(max_length=80, description="id of a session")]
SampleId = Annotated[int, Path(ge=1, le=MAX_ID, description="number of a sample")]
At = Annotated[str, Query(pattern="^(now|before)$", description="as it is now, or before it learned")]


def sample_body() -> dict[str, Any]:
    """The request body of samples for the OpenAPI: one of several content types."""
    content: dict[str, Any] = {kind: {"schema": BINARY} for kind in inputs.KINDS}
    content["application/json"] = {"schema": NUMBERS, "example": {"x": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]}}
    content["text/csv"] = {"schema": {"type": "string"}, "example": "0.1,0.2,0.3,0.4,0.5,0.6\n"}
    return {"requestBody": {"required": True, "content": content}}


def accepts(request: Request, kind: str) -> bool:
    """Whether a client names a content type among those it takes."""
    return kind in request.headers.get("accept", "")


def erased(done: bool) -> Response:
    """204 once it is gone from the disk, 202 while a backup that runs still holds the log."""
    return Response(status_code=204 if done else 202)


GONE: dict[int | str, dict[str, Any]] = {
    202: {"description": "Deleted; the log is emptied as soon as the backup that reads it has ended"},
    **PROBLEMS,
}
