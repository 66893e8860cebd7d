"""What a person does on the page, for the tests in a browser: a machine without one skips on import."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
torch = pytest.importorskip("torch")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine (Debian: apt install chromium)", allow_module_level=True)

expect = playwright.expect
# As root Chromium has no sandbox to offer; the page under test is our own. Media are synthetic.
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
Stroke = list[tuple[float, float]]
SIZE = 12


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
