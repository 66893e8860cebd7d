"""The OpenAPI is complete and true: examples hold, refusals are documented, no request makes it stumble."""

import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from regrow.client import Client
from regrow.serve import schemas
from regrow.serve.problems import KINDS, MEDIA_TYPE, TYPE
from tests.runtime.serve.test_guard import ask

METHODS = ("get", "post", "patch", "delete", "put")


def spec(client: Client) -> dict[str, Any]:
    return dict(client.json("GET", "/v1/openapi.json"))


def operations(made: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(m, p, item[m]) for p, item in made["paths"].items() for m in METHODS if m in item]


def test_every_operation_says_what_it_does_and_how_it_refuses(client: Client) -> None:
    made = spec(client)
    assert len(operations(made)) > 20
    for method, path, operation in operations(made):
        place = f"{method} {path}"
        assert operation["description"], place
        for code in ("4XX", "5XX"):
            schema = operation["responses"][code]["content"][MEDIA_TYPE]["schema"]
            assert schema == {"$ref": "#/components/schemas/ProblemBody"}, place
        assert "422" not in operation["responses"], place
    assert made["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_request_body_has_an_example_that_holds(client: Client) -> None:
    types = [value for value in vars(schemas).values() if isinstance(value, type)]
    bodies = {kind.__name__: kind for kind in types if issubclass(kind, BaseModel)}
    made, seen = spec(client), 0
    for _, _, operation in operations(made):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            parts = [part for part in (schema, *schema.get("allOf", ())) if "$ref" in part]
            for name in (part["$ref"].rpartition("/")[2] for part in parts):
                (example,) = made["components"]["schemas"][name]["examples"]
                bodies[name].model_validate(example)
                seen += 1
    assert seen >= 6


def test_every_answer_has_an_example_that_holds(client: Client) -> None:
    types = [value for value in vars(schemas).values() if isinstance(value, type)]
    bodies = {kind.__name__: kind for kind in types if issubclass(kind, BaseModel) and kind is not BaseModel}
    made = spec(client)["components"]["schemas"]
    for name, kind in bodies.items():
        if name in made:
            (example,) = made[name]["examples"]
            # Complete as well: what a client may count on is shown.
            assert example.keys() >= set(made[name].get("required", ())), name
            kind.model_validate(example)
    assert {"ModelBody", "SessionDetails", "ReportBody", "PredictionBody", "ProblemBody"} <= made.keys()
    answers = [
        content["schema"].get("items", content["schema"])
        for _, _, operation in operations(spec(client))
        for code, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if kind == "application/json"
    ]
    assert len(answers) > 12
    assert all("$ref" in schema for schema in answers), answers


def test_the_documented_problem_types_are_all_there_are() -> None:
    text = "\n".join(p.read_text() for p in Path(schemas.__file__).parent.rglob("*.py"))
    unused = [kind for kind in KINDS if f'"{kind}"' not in text.replace("KINDS", "")]
    assert unused == []
    assert all(400 <= status < 600 and title for status, title in KINDS.values())


# Letters that have gone wrong in addresses before, and some that have not.
LETTERS = string.ascii_letters + string.digits + "/.%&?#'\" \0\n\u00e9\u2028\U0001f600"
BODY_TYPES = ["", "text/html", "image/png", "audio/wav", "text/csv"]
FIELDS = ["x", "name", "model", "delta", "steps", "start", "held_back"]
ODD = st.text(st.sampled_from(LETTERS), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=8,
)
Request = tuple[str, str, bytes | None, str]


@dataclass(repr=False)
class Addresses:
    """What may be asked for, and ids that exist."""

    operations: list[tuple[str, str, dict[str, Any]]]
    ids: dict[str, str]


@st.composite
def requests(draw: st.DrawFn, known: Addresses) -> Request:
    """A request to a documented address that may be right in some parts and is odd in others."""
    method, path, operation = draw(st.sampled_from(known.operations))
    for name in ("id", "sample", "model"):
        if f"{{{name}}}" in path:
            value = draw(st.just(known.ids[name]) | ODD.filter(bool))
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
    query = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    given = {name: draw(st.sampled_from(["true", "now", "before", "a", "tiny"]) | ODD) for name in query}
    path += f"?{urlencode(given)}" if given else ""
    content = list(operation.get("requestBody", {}).get("content", {"application/json": {}}))
    kind = draw(st.sampled_from(content) | st.sampled_from(BODY_TYPES))
    fields = st.dictionaries(st.sampled_from(FIELDS), VALUES)
    body = draw(st.none() | st.binary(max_size=60) | fields.map(lambda v: json.dumps(v).encode()))
    return method.upper(), path, body, kind


def test_no_request_makes_it_stumble(start: Callable[..., Any], give: Callable[..., None]) -> None:
    service = start(limits={"sessions": 10**6, "deltas": 10**6})
    client = service.client()
    session = client.open("tiny")
    give(session)
    session.adapt()
    ids = {"id": session.id, "sample": str(session.details()["samples"][0]["id"]), "model": "tiny"}
    known = Addresses(operations(spec(client)), ids)

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(requests(known))
    def check(request: Request) -> None:
        method, path, body, kind = request
        typed = {"content_type": kind} if kind else {}
        status, headers, data = ask(service.url, method, path, body, **typed)
        assert status < 500, (request, data)
        if status >= 400:
            problem = json.loads(data)
            assert headers["content-type"] == MEDIA_TYPE, request
            assert (problem["type"].removeprefix(TYPE) in KINDS, problem["status"]) == (True, status), request

    check()
    assert client.json("GET", "/v1/health")["status"] == "ok"
