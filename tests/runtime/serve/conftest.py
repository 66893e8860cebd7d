"""A real service on a real port, in a thread of this process, with the linear bundle of other tests."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from regrow.client import Client, RemoteSession
from regrow.serve.limits import Limits

NAMES = "abcde"


@dataclass
class Running:
    """A service that answers."""

    prepared: Any
    thread: threading.Thread
    bundle: Path
    data: Path

    @property
    def url(self) -> str:
        return str(self.prepared.url)

    @property
    def core(self) -> Any:
        return self.prepared.core

    def client(self, token: str | None = None) -> Client:
        return Client(self.url, token)

    def stop(self) -> None:
        self.prepared.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.prepared.listener.close()


@pytest.fixture
def bundle(tiny: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.regrow"
    tiny.write(path)
    return path


@pytest.fixture
def start(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a service; keywords of Settings, and of Limits under `limits`."""
    from regrow.serve.run import Settings, prepare

    running: list[Running] = []

    def begin(limits: dict[str, Any] | None = None, **how: Any) -> Running:
        made = Limits(**({"grace_seconds": 2.0, "requests_per_second": 1e6, "burst": 10**6} | (limits or {})))
        settings = Settings(
            **({"bundles": [bundle], "data": tmp_path / "data", "port": 0, "limits": made} | how)
        )
        prepared = prepare(settings)
        thread = threading.Thread(target=prepared.run)
        thread.start()
        until = time.monotonic() + 20
        while not prepared.server.started and time.monotonic() < until:
            time.sleep(0.005)
        assert prepared.server.started
        running.append(Running(prepared, thread, bundle, tmp_path / "data"))
        return running[-1]

    yield begin
    for one in running:
        if one.thread.is_alive():
            one.stop()


@pytest.fixture
def service(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture
def client(service: Running) -> Client:
    return service.client()


def teach(session: RemoteSession, tiny: ModuleType, *, shots: int = 4, held_back: int = 0) -> None:
    """Give the separable classes; the last `held_back` of each class are kept for checking."""
    x, y = tiny.support(shots=shots)
    for label in range(len(NAMES)):
        own = x[y == label]
        session.add(NAMES[label], own[: shots - held_back].tolist())
        if held_back:
            session.add(NAMES[label], own[shots - held_back :].tolist(), held_back=True)


@pytest.fixture
def give(tiny: ModuleType) -> Callable[..., None]:
    return lambda session, **how: teach(session, tiny, **how)


@pytest.fixture
def query(tiny: ModuleType) -> Any:
    return np.asarray(tiny.support(shots=3, seed=3)[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.runtime.serve import drawing

    with drawing.playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=drawing.CHROMIUM, args=drawing.FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees drawings of 12 x 12, dark on light."""
    from tests.runtime.serve import drawing

    return drawing.linear(
        tmp_path_factory.mktemp("images") / "drawings.regrow", (1, drawing.SIZE, drawing.SIZE), "image"
    )


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page; whatever the browser complains about fails the test."""
    from tests.runtime.serve.drawing import expect

    complaints: list[str] = []
    contexts = []

    def go(service: Any, **how: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1100, "height": 900}} | how))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
        page.goto(service.url)
        expect(page.locator("main")).to_be_visible()
        return page

    yield go
    for context in contexts:
        context.close()
    # A refusal of the service is logged by the browser as a failed request; that is what some tests want.
    assert [c for c in complaints if "Failed to load resource" not in c] == []
