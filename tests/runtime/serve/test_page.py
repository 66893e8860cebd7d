"""The page in a real browser: draw, learn, predict, undo, reload, on a desk and on a phone.

Skips where there is no Chromium or no Playwright to drive it (pip install 'regrow[browser]').
"""

import io
import math
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api")
torch = pytest.importorskip("torch")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)"),
]

expect = playwright.expect
# As root Chromium has no sandbox to offer; the page under test is our own. Media are synthetic.
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
Stroke = list[tuple[float, float]]
SIZE = 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


def linear(path: Path, shape: tuple[int, ...], kind: Any) -> Path:
    """A bundle of one layer, exported."""
    from collections import OrderedDict

    from regrow.manifest import InputSpec
    from regrow_exporter import export

    torch.manual_seed(0)
    layers = {"flat": torch.nn.Flatten(), "head": torch.nn.Linear(math.prod(shape), 4)}
    spec = InputSpec(shape=shape, kind=kind, invert=kind == "image")
    export(
        torch.nn.Sequential(OrderedDict(layers)),
        torch.rand(4, *shape),
        path=path,
        input=spec,
        lr=0.1,
        steps=20,
    )
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees drawings of 12 x 12, dark on light."""
    return linear(tmp_path_factory.mktemp("images") / "drawings.regrow", (1, SIZE, SIZE), "image")


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page; whatever the browser complains about fails the test."""
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


def ring(i: int) -> list[Stroke]:
    r = 0.26 + 0.03 * i
    return [[(0.5 + r * math.cos(a / 5 * math.pi), 0.5 + r * math.sin(a / 5 * math.pi)) for a in range(11)]]


def cross(i: int) -> list[Stroke]:
    d = 0.03 * i
    return [[(0.2 + d, 0.2), (0.8, 0.8 - d)], [(0.8 - d, 0.2), (0.2, 0.8 - d)]]


def draw(page: Any, canvas: Any, strokes: list[Stroke]) -> None:
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for stroke in strokes:
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*at[0])
        page.mouse.down()
        for x, y in at[1:]:
            page.mouse.move(x, y, steps=2)
        page.mouse.up()


def add_class(page: Any, name: str) -> Any:
    page.get_by_label("New class").fill(name)
    page.get_by_role("button", name="Add class").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    return page.get_by_role("dialog")


def teach(page: Any, name: str, shape: Callable[[int], list[Stroke]], count: int) -> None:
    dialog = add_class(page, name)
    for i in range(count):
        draw(page, dialog.locator("canvas"), shape(i))
        dialog.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("article", name=name).get_by_role("listitem")).to_have_count(i + 1)
    dialog.get_by_role("button", name="Done").click()


def learn(page: Any) -> None:
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.locator(".facts")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("It has learned")


def verdicts(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#answers .verdict").all_text_contents()]


def test_draw_learn_predict_undo_reload(
    start: Callable[..., Any], images: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    service = start(bundles=[images])
    page = visit(service)
    expect(page.locator("#about")).to_contain_text("images of 12")
    teach(page, "ring", ring, 3)
    teach(page, "cross", cross, 3)
    expect(page.get_by_role("article", name="ring").get_by_text("check", exact=True)).to_have_count(1)
    learn(page)
    expect(page.locator("#status")).to_have_text("It has learned ring, cross.")
    expect(page.locator(".facts")).to_contain_text("2 of 2 right")
    expect(page.locator(".facts")).to_contain_text("for 4 samples on onnx")
    expect(page.get_by_role("row", name="head")).to_be_visible()
    pad = page.locator("#try-capture canvas")
    for shape, name in ((cross, "cross"), (ring, "ring")):
        page.locator("#try-capture").get_by_role("button", name="Clear").click()
        draw(page, pad, shape(1))
        expect(page.locator("#answers .now .verdict")).to_have_text(name)
    expect(page.get_by_role("heading", name="Before learning")).to_be_visible()
    page.screenshot(path=tmp_path / "desk.png", full_page=True)
    page.reload()
    expect(page.locator("#status")).to_have_text("It has learned ring, cross.")
    expect(page.get_by_role("article", name="cross").get_by_role("img")).to_have_count(0)  # decoration
    expect(page.locator("article img")).to_have_count(6)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#status")).to_have_text("It has learned nothing yet.")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    (session,) = service.client().sessions()
    assert service.client().session(session["id"]).details()["adaptations"] == 0


@pytest.mark.slow
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


def contrast(page: Any, selector: str) -> float:
    """The WCAG contrast of text against the first opaque background behind it."""
    return float(
        page.locator(selector).first.evaluate(
            """e => {
              const rgb = text => text.match(/[0-9.]+/g).map(Number);
              const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
              const under = e => getComputedStyle(e).backgroundColor;
              let back = e;
              while (back.parentElement && (rgb(under(back))[3] ?? 1) === 0) back = back.parentElement;
              const [a, b] = [getComputedStyle(e).color, under(back)].map(rgb).map(light);
              return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            }"""
        )
    )


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
