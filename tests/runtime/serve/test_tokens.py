"""Who may come in: tokens and their owners, and what reaches beyond this machine."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import ServiceError
from regrow.errors import RegrowError
from regrow.serve import auth, records
from regrow.serve.guard import LOOPBACK
from regrow.serve.run import Settings, hosts, tokens
from regrow.serve.store import Store
from tests.runtime.serve.test_guard import ask


def test_tokens_open_and_keep_owners_apart(start: Callable[..., Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    ana, bob = auth.create(store, "ana"), auth.create(store, "bob")
    with pytest.raises(RegrowError, match="exists already"):
        auth.create(store, "ana")
    with store.reading() as db:
        stored = b"".join(hash for _, hash in records.tokens(db))
    assert ana.encode() not in stored
    assert ana.removeprefix("regrow_").encode() not in (tmp_path / "data" / "service.db").read_bytes()
    store.close()
    service = start()
    for wrong in (None, "", "nonsense", ana[:-1], ana + "x", ana.swapcase()):
        with pytest.raises(ServiceError) as refused:
            service.client(wrong).sessions()
        assert (refused.value.status, refused.value.kind) == (401, "no-token")
    assert ask(service.url, "GET", "/metrics")[0] == 401
    assert ask(service.url, "GET", "/v1/health")[0] == 200
    mine = service.client(ana).open("tiny")
    assert [s["id"] for s in service.client(ana).sessions()] == [mine.id]
    assert service.client(bob).sessions() == []
    theirs = service.client(bob).session(mine.id)
    for act in (theirs.details, theirs.undo, theirs.reset, theirs.erase, theirs.erase_samples, theirs.adapt):
        with pytest.raises(ServiceError) as hidden:
            act()
        assert hidden.value.status == 404
    assert mine.details()["id"] == mine.id


def test_a_token_made_or_revoked_elsewhere_counts_soon(
    service: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(auth, "REFRESH", 0.0)
    assert service.client().sessions() == []
    store = Store(tmp_path / "data", exclusive=False)
    token = auth.create(store, "ana")
    with pytest.raises(ServiceError, match="no valid token"):
        service.client().sessions()
    assert service.client(token).sessions() == []
    auth.revoke(store, "ana")
    assert service.client().sessions() == []
    with pytest.raises(RegrowError, match="not found"):
        auth.revoke(store, "ana")
    store.close()


@pytest.mark.parametrize(
    ("how", "place", "names"),
    [
        ({"host": "0.0.0.0"}, r"host 0\.0\.0\.0", None),
        ({"names": ["Lab.example"]}, r"name Lab\.example", LOOPBACK | {"lab.example"}),
    ],
)
def test_beyond_this_machine_a_token_must_exist_first(
    tmp_path: Path, how: dict[str, Any], place: str, names: frozenset[str] | None
) -> None:
    store, settings = Store(tmp_path / "data"), Settings(bundles=[], data=tmp_path / "data", **how)
    with pytest.raises(RegrowError, match=f"{place}: others can reach it, expected a token"):
        tokens(settings, store)
    token = auth.create(store, "ana")
    allowed = tokens(settings, store)
    assert hosts(settings) == names
    assert allowed.owner(f"Bearer {token}") == "ana"
    # The last one revoked, because it leaked: nobody comes in, rather than everybody.
    auth.revoke(store, "ana")
    allowed.refresh()
    assert allowed.owner(f"Bearer {token}") is None
    assert allowed.owner(None) is None
    alone = Settings(bundles=[], data=tmp_path / "data")
    assert (hosts(alone), tokens(alone, store).owner(None)) == (LOOPBACK, "")
    store.close()


def test_a_page_behind_a_proxy_is_known_by_its_name(start: Callable[..., Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    bearer = f"Bearer {auth.create(store, 'ana')}"
    store.close()
    service = start(names=["lab.example"])
    body = b'{"model": "tiny"}'
    page = {"host": "lab.example", "origin": "https://lab.example", "sec_fetch_site": "same-origin"}
    typed = {"content_type": "application/json", "authorization": bearer}
    assert ask(service.url, "POST", "/v1/sessions", body, **page, **typed)[0] == 201
    foreign = page | {"origin": "https://evil.example"}
    assert ask(service.url, "POST", "/v1/sessions", body, **foreign, **typed)[0] == 403
    assert ask(service.url, "GET", "/v1/models", host="evil.example", authorization=bearer)[0] == 421


def test_all_of_an_owner_is_erased_and_nothing_of_others(
    start: Callable[..., Any], tiny: ModuleType, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    store = Store(tmp_path / "data")
    made = {name: auth.create(store, name) for name in ("ana", "bo")}
    store.close()
    service = start()
    opened = {
        name: service.client(token).open("tiny", name=f"door of {name}") for name, token in made.items()
    }
    for session in opened.values():
        session.add("a", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    code, out, _ = run("serve", "--data", tmp_path / "data", "--erase-owner", "ana")
    assert (code, out) == (0, "ana: erased\n")
    left = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert (b"door of ana" in left, b"door of bo" in left) == (False, True)
    assert len(opened["bo"].details()["samples"]) == 1
    code, _, err = run("serve", "--data", tmp_path / "data", "--erase-owner", "ana")
    assert (code, "owns nothing" in err) == (2, True)
