"""Talk to a regrow service from Python. Standard library only; every refusal is a `ServiceError`.

client = Client("http://127.0.0.1:8377")
session = client.open("glyphs", name="kitchen door")
session.add("cup", Path("cup.png").read_bytes(), "image/png")
report = session.adapt(on_step=lambda step: print(step.number, step.loss))
session.predict(Path("what.png").read_bytes(), "image/png").labels
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from regrow.errors import RegrowError

JSON, DELTA = "application/json", "application/octet-stream"
EVENTS, NPY = "text/event-stream", "application/x-npy"
Numbers = Sequence[Any]


class ServiceError(RegrowError):
    """A refusal of the service: `kind` for programs, the message for people, `problem` with all members."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail", problem)))
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.kind = str(problem.get("type", "")).rpartition(":")[2]


@dataclass(frozen=True)
class Step:
    """Progress: the loss after step `number` of `steps`."""

    number: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Report:
    """What one adaptation did; `facts` is the whole of it as the service tells it."""

    losses: tuple[float, ...]
    loss: float
    steps: int
    samples: int
    elapsed_ms: float
    peak_bytes: int
    facts: dict[str, Any]

    @property
    def accuracy(self) -> float | None:
        """On held-back samples, where there are any."""
        check = self.facts.get("check")
        return check["right"] / check["samples"] if check else None


@dataclass(frozen=True)
class Answers:
    """One entry per query. `labels` is empty for regression, where `values` holds the numbers."""

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    values: tuple[tuple[float, ...], ...]
    elapsed_ms: float


@dataclass(frozen=True)
class SavedDelta:
    """A saved calibration."""

    id: str
    model: str
    name: str
    bytes: int
    created: float


class Client:
    """One service; any thread may use it. `ca` is the file of a certificate that no system knows."""

    def __init__(
        self, url: str, token: str | None = None, timeout: float = 60.0, ca: str | None = None
    ) -> None:
        self._parts, self._token, self._timeout, self._ca = urlsplit(url), token, timeout, ca
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise RegrowError(f"{url}: no address of a service, expected http://HOST:PORT; check it")

    def models(self) -> list[dict[str, Any]]:
        """The bundles that are served."""
        return list(self.json("GET", "/v1/models"))

    def open(self, model: str, name: str = "calibration", delta: str | None = None) -> RemoteSession:
        """A new session, fresh or from a saved calibration."""
        made = self.json("POST", "/v1/sessions", {"model": model, "name": name, "delta": delta})
        return RemoteSession(self, made["id"])

    def session(self, id: str) -> RemoteSession:
        """A session that exists already."""
        return RemoteSession(self, id)

    def sessions(self) -> list[dict[str, Any]]:
        """Your sessions."""
        return list(self.json("GET", "/v1/sessions"))

    def deltas(self) -> list[SavedDelta]:
        """Your saved calibrations."""
        return [SavedDelta(**entry) for entry in self.json("GET", "/v1/deltas")]

    def upload(self, model: str, name: str, data: bytes) -> SavedDelta:
        """Take a .delta file to the service."""
        query = urlencode({"model": model, "name": name})
        return SavedDelta(**json.loads(self.send("POST", f"/v1/deltas?{query}", data, DELTA)))

    def download(self, id: str) -> bytes:
        """The bytes of a saved calibration."""
        return self.send("GET", f"/v1/deltas/{quote(id, safe='')}/file", accept=DELTA)

    def erase_delta(self, id: str) -> None:
        """Erase a saved calibration."""
        self.send("DELETE", f"/v1/deltas/{quote(id, safe='')}")

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """One request with JSON both ways; None where the answer is empty."""
        data = None if body is None else json.dumps(body).encode()
        answer = self.send(method, path, data, JSON)
        return json.loads(answer) if answer else None

    def send(
        self, method: str, path: str, body: bytes | None = None, kind: str = JSON, accept: str = JSON
    ) -> bytes:
        """One request; the body of its answer."""
        connection, response = self._request(method, path, body, kind, accept)
        try:
            return response.read()
        finally:
            connection.close()

    def events(self, path: str, body: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events as (event, data)."""
        connection, response = self._request("POST", path, json.dumps(body).encode(), JSON, EVENTS)
        try:
            event = ""
            for raw in response:
                key, _, value = raw.decode().strip().partition(": ")
                if key == "event":
                    event = value
                elif key == "data":
                    yield event, json.loads(value)
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, body: bytes | None, kind: str, accept: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        headers = {"accept": accept} | ({} if body is None else {"content-type": kind})
        headers |= {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        connection = self._connection()
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise _refused(response)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise RegrowError(
                f"{self._parts.geturl()}: no answer ({error}), expected a service; check that it runs"
            ) from error
        except ServiceError:
            connection.close()
            raise
        return connection, response

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        context = ssl.create_default_context(cafile=self._ca)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)


def _refused(response: http.client.HTTPResponse) -> ServiceError:
    text = response.read()
    try:
        problem = json.loads(text)
    except ValueError:
        problem = {}
    return ServiceError({"status": response.status, "detail": f"HTTP {response.status}"} | problem)


class RemoteSession:
    """One session on a service. Samples go as bytes of a content type, or as numbers."""

    def __init__(self, client: Client, id: str) -> None:
        self.client, self.id = client, id
        self._path = f"/v1/sessions/{quote(id, safe='')}"

    def details(self) -> dict[str, Any]:
        """Name, samples, classes, last report."""
        return dict(self.client.json("GET", self._path))

    def add(
        self, label: str, sample: bytes | Numbers, kind: str = JSON, *, held_back: bool = False
    ) -> list[int]:
        """Give samples of one class; returns their numbers."""
        query = urlencode({"label": label, "held_back": str(held_back).lower()})
        path = f"{self._path}/samples?{query}"
        made = json.loads(self.client.send("POST", path, _body(sample), kind))
        return [int(entry["id"]) for entry in made["samples"]]

    def adapt(
        self,
        *,
        steps: int | None = None,
        start: Literal["current", "bundle"] = "current",
        on_step: Callable[[Step], None] | None = None,
    ) -> Report:
        """Learn; returns once what was learned is on the service's disk."""
        for event, data in self.client.events(f"{self._path}/adapt", {"steps": steps, "start": start}):
            if event == "step" and on_step is not None:
                on_step(Step(data["step"], data["steps"], data["loss"]))
            elif event == "problem":
                raise ServiceError(data)
            elif event == "done":
                return _report(data)
        raise RegrowError(f"session {self.id}: the service went away while it learned; ask for details()")

    def predict(
        self, sample: bytes | Numbers, kind: str = JSON, *, at: Literal["now", "before"] = "now"
    ) -> Answers:
        """Label one or more samples."""
        made = json.loads(self.client.send("POST", f"{self._path}/predict?at={at}", _body(sample), kind))
        rows = made["predictions"]
        return Answers(
            labels=tuple(row["label"] for row in rows if "label" in row),
            classes=tuple(made["classes"]),
            probabilities=tuple(tuple(row.get("probabilities", ())) for row in rows),
            values=tuple(tuple(row.get("values", ())) for row in rows),
            elapsed_ms=made["elapsed_ms"],
        )

    def predict_npy(self, sample: bytes, kind: str = NPY) -> bytes:
        """The bare array of probabilities (or values), as .npy bytes."""
        return self.client.send("POST", f"{self._path}/predict", sample, kind, NPY)

    def undo(self) -> None:
        """Step back one adaptation or load."""
        self.client.send("POST", f"{self._path}/undo")

    def reset(self) -> None:
        """Back to the bundle; samples stay."""
        self.client.send("POST", f"{self._path}/reset")

    def load(self, delta: str) -> None:
        """Put a saved calibration on top."""
        self.client.json("POST", f"{self._path}/load", {"delta": delta})

    def save(self, name: str) -> SavedDelta:
        """Keep what was learned under a name."""
        return SavedDelta(**self.client.json("POST", f"{self._path}/deltas", {"name": name}))

    def rename_class(self, label: str, name: str) -> None:
        """Give a class another name, in its samples and in what was learned."""
        self.client.json("PATCH", f"{self._path}/classes?{urlencode({'label': label})}", {"name": name})

    def rename(self, name: str) -> None:
        """Give the session another name."""
        self.client.json("PATCH", self._path, {"name": name})

    def hold_back(self, sample: int, held_back: bool = True) -> None:
        """Keep a sample for checking, or learn from it."""
        self.client.json("PATCH", f"{self._path}/samples/{sample}", {"held_back": held_back})

    def erase_samples(self, *, sample: int | None = None, label: str | None = None) -> None:
        """Erase samples: one, those of a class, or all."""
        one = "" if sample is None else f"/{sample}"
        query = "" if label is None else f"?{urlencode({'label': label})}"
        self.client.send("DELETE", f"{self._path}/samples{one}{query}")

    def erase(self) -> None:
        """Erase the session with everything in it."""
        self.client.send("DELETE", self._path)


def _body(sample: bytes | Numbers) -> bytes:
    return sample if isinstance(sample, bytes) else json.dumps({"x": sample}).encode()


def _report(data: dict[str, Any]) -> Report:
    figures = {name: data[name] for name in ("loss", "steps", "samples", "elapsed_ms", "peak_bytes")}
    return Report(losses=tuple(data["losses"]), facts=data, **figures)
