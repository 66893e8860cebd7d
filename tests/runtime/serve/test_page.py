"""The page in a real browser: draw, learn, predict, undo, reload, on a desk and on a phone.

Skips where there is no Chromium or no Playwright to drive it (pip install 'regrow[browser]').
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from tests.runtime.serve.drawing import SIZE, add_class, contrast, cross, draw, expect, learn, ring, teach

pytestmark = pytest.mark.browser


def test_draw_learn_predict_undo_reload(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    service = start(bundles=[images])
    page, engine = visit(service), service.client().models()[0]["engine"]
    expect(page.locator("#about")).to_contain_text("images of 12")
    teach(page, "ring", ring, 3)
    teach(page, "cross", cross, 3)
    expect(page.get_by_role("article", name="ring").get_by_text("check", exact=True)).to_have_count(1)
    learn(page)
    expect(page.locator("#status")).to_have_text("It has learned ring, cross.")
    expect(page.locator(".facts")).to_contain_text("2 of 2 right")
    expect(page.locator(".facts")).to_contain_text(f"for 4 samples on {engine}")
    expect(page.get_by_role("row", name="head")).to_be_visible()
    pad = page.locator("#try-capture canvas")
    for shape, name in ((cross, "cross"), (ring, "ring")):
        page.locator("#try-capture").get_by_role("button", name="Clear").click()
        draw(page, pad, shape(1))
        expect(page.locator("#answers .now .verdict")).to_have_text(name)
    expect(page.get_by_role("heading", name="Before learning")).to_be_visible()
    page.screenshot(path=tmp_path / "desk.png", full_page=True)
    page.get_by_role("button", name="Rename ring").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("cross")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("This class is there already")
    page.get_by_role("textbox", name="Name", exact=True).fill("a circle")
    page.screenshot(path=tmp_path / "rename.png")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.locator("#answers .now .verdict")).to_have_text("a circle")
    page.reload()
    expect(page.locator("#status")).to_have_text("It has learned a circle, cross.")
    expect(page.get_by_role("article", name="cross").get_by_role("img")).to_have_count(0)  # decoration
    expect(page.locator("article img")).to_have_count(6)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#status")).to_have_text("It has learned nothing yet.")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    expect(page.get_by_role("article", name="a circle").get_by_role("listitem")).to_have_count(3)
    (session,) = service.client().sessions()
    assert service.client().session(session["id"]).details()["adaptations"] == 0


def test_mistakes_are_said_in_plain_words(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(start(bundles=[images]))
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("None to learn from")
    dialog = add_class(page, "ring")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("The drawing is blank")
    draw(page, dialog.locator("canvas"), ring(0))
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
    expect(dialog.get_by_role("alert")).to_be_hidden()
    page.screenshot(path=tmp_path / "dialog.png")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Of 1 class (ring), expected at least 2 classes")
    expect(page.get_by_role("button", name="Learn", exact=True)).to_be_enabled()
    picture = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), np.uint8)
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "same.png")
    for name in ("one", "two"):
        dialog = add_class(page, name)
        dialog.get_by_text("Files").click()
        dialog.locator("input[type=file]").set_input_files(tmp_path / "same.png")
        if name == "two":
            expect(dialog.get_by_role("alert")).to_contain_text("given as 'one' before, now as 'two'")
            (tmp_path / "note.txt").write_text("no image")
            dialog.locator("input[type=file]").set_input_files(tmp_path / "note.txt")
            expect(dialog.get_by_role("alert")).to_contain_text("This kind of file is not taken")
        else:
            expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
        dialog.get_by_role("button", name="Done").click()


def test_everything_can_be_done_with_the_keyboard(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any]
) -> None:
    page = visit(start(bundles=[images]))
    for name, keys in (("across", ["ArrowLeft", "ArrowRight"]), ("down", ["ArrowUp", "ArrowDown"])):
        page.locator("#class-name").focus()
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        dialog.locator("canvas").focus()
        for key, times in zip(keys, (5, 10), strict=True):
            for _ in range(times):
                page.keyboard.press(key)
            page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(dialog.get_by_text("1 sample so far.")).to_be_visible()
        page.keyboard.press("Escape")
    page.locator("#learn").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("It has learned across, down.")
    unnamed = page.locator("button, input, select, textarea").evaluate_all(
        "all => all.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim()))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_it_fits_a_phone_and_can_be_read(
    scheme: str, start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    phone = {
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "is_mobile": True,
        "color_scheme": scheme,
    }
    page = visit(start(bundles=[images]), **phone)
    teach(page, "ring", ring, 3)
    teach(page, "a class with quite a long name", cross, 3)
    learn(page)
    draw(page, page.locator("#try-capture canvas"), ring(1))
    expect(page.locator("#answers .now .verdict")).to_have_text("ring")
    page.screenshot(path=tmp_path / f"phone-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("main button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 24, button.text_content()
        assert box["x"] >= 0, button.text_content()
    for selector in (
        "#about",
        "#learn",
        ".facts span",
        ".use",
        ".kept .use",
        ".sample .remove",
        "caption",
        "#erase",
    ):
        assert contrast(page, selector) >= 4.5, selector
