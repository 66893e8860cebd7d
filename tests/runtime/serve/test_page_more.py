"""The rest of the page in a real browser: files, camera, microphone, saved calibrations, tokens.

Skips where there is no Chromium or no Playwright to drive it (pip install 'regrow[browser]').
"""

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from tests.runtime.serve.drawing import (
    add_class,
    cross,
    expect,
    learn,
    linear,
    ring,
    teach,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_calibration_is_kept_downloaded_and_opened_again(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(start(bundles=[images]))
    teach(page, "ring", ring, 2)
    teach(page, "cross", cross, 2)
    learn(page)
    page.locator("#save-name").fill("door & <b>window</b>")
    page.get_by_role("button", name="Save calibration").click()
    expect(page.locator(".saved b")).to_have_text("door & <b>window</b>")  # text, never markup
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "mine.delta")
    page.get_by_role("button", name="Start another").click()
    expect(page.locator("#status")).to_have_text("It has learned nothing yet.")
    page.locator("#delta-file").set_input_files(tmp_path / "mine.delta")
    expect(page.locator("#status")).to_have_text("It has learned ring, cross (from a saved calibration).")
    expect(page.locator(".saved")).to_have_count(2)
    (tmp_path / "bad.delta").write_bytes((tmp_path / "mine.delta").read_bytes()[:-1])
    page.locator("#delta-file").set_input_files(tmp_path / "bad.delta")
    expect(page.get_by_role("alert")).to_contain_text("The delta cannot be used")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Erase this calibration").click()
    expect(page.locator("#status")).to_have_text("It has learned nothing yet.")


def test_what_was_begun_stays_within_reach(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(start(bundles=[images]))
    expect(page.locator("#others-field")).to_be_hidden()
    page.get_by_label("Calibration", exact=True).fill("kitchen door")
    teach(page, "ring", ring, 1)
    teach(page, "cross", cross, 1)
    learn(page)
    teach(page, "cross 2", lambda i: cross(i + 3), 1)
    expect(page.locator("#status")).to_contain_text("The samples have changed since")
    page.get_by_role("button", name="Start another").click()
    expect(page.get_by_role("article")).to_have_count(0)
    page.get_by_label("Earlier ones").select_option(index=1)
    expect(page.get_by_label("Calibration", exact=True)).to_have_value("kitchen door")
    expect(page.get_by_role("article")).to_have_count(3)
    page.get_by_role("button", name="Remove ring").click()
    expect(page.get_by_role("article", name="ring")).to_contain_text("It knows this class")
    expect(page.locator("#status")).to_contain_text("The samples have changed since")
    page.screenshot(path=tmp_path / "earlier.png", full_page=True)
    page.reload()
    expect(page.get_by_label("Calibration", exact=True)).to_have_value("kitchen door")


def test_the_model_that_was_chosen_is_still_chosen_after_a_reload(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    service = start(bundles=[images, linear(tmp_path / "sound.regrow", (400,), "vector")])
    page, second = visit(service), service.client().models()[1]["digest"]
    page.locator("#model").select_option(index=1)
    expect(page.locator("#about")).to_contain_text("signals of 400")
    page.reload()
    expect(page.locator("#about")).to_contain_text("signals of 400")
    expect(page.locator("#model")).to_have_value(second)


def test_the_camera_gives_samples_and_live_answers(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any]
) -> None:
    page = visit(start(bundles=[images]), permissions=["camera"])
    teach(page, "ring", ring, 2)
    dialog = add_class(page, "room")
    dialog.get_by_text("Camera").click()
    expect(dialog.locator("video")).to_be_visible()
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
    dialog.get_by_role("button", name="Done").click()
    learn(page)
    page.locator("#try-capture").get_by_text("Camera").click()
    expect(page.locator("#answers .now .verdict")).to_have_text("room")


def test_signals_are_pasted_uploaded_and_recorded(
    start: Callable[..., Any], visit: Callable[..., Any], tmp_path: Path
) -> None:
    sound = linear(tmp_path / "sound.regrow", (400,), "vector")
    page = visit(start(bundles=[sound]), permissions=["microphone"])
    expect(page.locator("#about")).to_contain_text("signals of 400 numbers")
    dialog = add_class(page, "ramp")
    dialog.get_by_label("A sample of 400 numbers").fill(",".join(str(i / 400) for i in range(400)))
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
    dialog.get_by_role("button", name="Done").click()
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.sin(np.arange(900) / 3) * 2**14).astype("<i2").tobytes())
    (tmp_path / "tone.wav").write_bytes(stream.getvalue())
    dialog = add_class(page, "tone")
    dialog.get_by_text("Files").click()
    dialog.locator("input[type=file]").set_input_files(tmp_path / "tone.wav")
    expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
    dialog.get_by_text("Record", exact=True).click()
    dialog.get_by_label("Seconds").fill("0.6")
    dialog.get_by_role("button", name="Record and add").click()
    expect(dialog.get_by_text("2 samples so far.")).to_be_visible()
    dialog.get_by_role("button", name="Done").click()
    expect(page.locator(".samples canvas")).to_have_count(3)
    learn(page)
    page.locator("#try-capture").get_by_text("Files").click()
    page.locator("#try-capture input[type=file]").set_input_files(tmp_path / "tone.wav")
    expect(page.locator("#answers .now .verdict")).to_have_text("tone")
    hear_and_stop(page)


def hear_and_stop(page: Any) -> None:
    """Listening asks again and again, of what was heard last, until it is told to stop."""
    asked: list[bytes] = []
    page.on(
        "request", lambda request: "predict?at=now" in request.url and asked.append(request.post_data_buffer)
    )
    page.locator("#try-capture").get_by_text("Record", exact=True).click()
    page.locator("#try-capture").get_by_label("Seconds").fill("0.5")
    page.get_by_role("button", name="Listen", exact=True).click()
    expect(page.get_by_role("button", name="Record and try")).to_be_disabled()
    for _ in range(3):
        with page.expect_response(lambda response: "predict?at=now" in response.url) as answered:
            pass
        assert answered.value.ok
    page.get_by_role("button", name="Stop listening").click()
    expect(page.get_by_role("button", name="Record and try")).to_be_enabled()
    page.wait_for_timeout(1000)
    count = len(asked)
    page.wait_for_timeout(1000)
    assert len(asked) == count >= 3
    assert len(set(asked)) == count  # never the same moment twice
    assert len({len(body) for body in asked}) <= 2  # half a second, give or take a block


def test_a_token_is_asked_for_and_forgotten_with_the_tab(
    start: Callable[..., Any], images: Path, browser: Any, tmp_path: Path
) -> None:
    from regrow.serve import auth
    from regrow.serve.store import Store

    store = Store(tmp_path / "data")
    token = auth.create(store, "ana")
    store.close()
    service = start(bundles=[images])
    context = browser.new_context()
    page = context.new_page()
    page.goto(service.url)
    expect(page.get_by_role("dialog")).to_contain_text("asks for a token")
    page.get_by_role("textbox", name="Token").fill("wrong")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("asks for a token")
    page.get_by_role("textbox", name="Token").fill(token)
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.locator("main")).to_be_visible()
    assert context.cookies() == []
    other = context.new_page()
    other.goto(service.url)
    expect(other.get_by_role("dialog")).to_contain_text("asks for a token")
    context.close()
