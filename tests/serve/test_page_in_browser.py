"""The page in a real browser: what it asks, shows and refuses, by the keyboard too."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import lmkit

pytestmark = pytest.mark.pipelines
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SENTENCES = [
    "我 把 手机 摔坏 了 ， 天气 很 好 ， 所以 我 要 去 修 手机",
    "我 渴 了 ， 天气 很 好 ， 所以 我 要 去 喝 水",
] * 30
FIRST = "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。"
HOSTILE = "<img src=x onerror=document.title='broken'>"
EXPECTED = 120_000
"""Milliseconds to wait for an answer on a busy machine."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of two n-grams, one of them with a name that is markup, and of an encoder."""
    pytest.importorskip("starlette")
    folder = tmp_path_factory.mktemp("page")
    (folder / "text.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    for order in (3, 6):
        lmkit.train(
            folder / "text.txt", model="ngram", order=order, tokenizer="word", out=folder / f"order-{order}"
        )
    lmkit.train(
        folder / "text.txt", model="elmo", inputs="tokens", tokenizer="word", out=folder / "elmo",
        hidden_size=8, batch_size=2, bptt=8, max_steps=3, device="cpu",
    )  # fmt: skip
    runs = [str(folder / name) for name in ("order-3", "order-6", "elmo")]
    process = subprocess.Popen(
        [sys.executable, "-m", "lmkit", "serve", *runs, "--name", f"{runs[1]}={HOSTILE[:4]} b", "--port", "0"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "LMKIT_SERVE_TOKEN": ""},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"listening at (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail("".join(lines))
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page in English on a narrow screen; a test fails if a script of it fails or it asks another server."""
    context = browser.new_context(viewport={"width": 360, "height": 800}, locale="en-US")
    context.set_default_timeout(EXPECTED)
    found = context.new_page()
    problems: list[str] = []
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:")) else problems.append(request.url),
    )
    found.goto(address)
    found.wait_for_selector("#fill-cards .words")
    yield found
    assert problems == []
    context.close()


def test_the_first_example_is_filled_in_by_all(page: Any) -> None:
    """Every run has a card with bars and coloured words, under its name as text; nothing is wider than the screen."""
    assert page.input_value("#fill-text") == FIRST
    assert page.locator("#fill-cards h2").all_text_contents() == ["order-3", "<img b", "elmo"]
    assert page.locator("#fill-cards table").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "not a probability" in page.text_content("#fill-cards article:nth-child(3)")


def test_typing_asks_again(page: Any) -> None:
    """The newest line counts; markup in it, and in candidates, is text."""
    page.fill("#fill-candidates", f"喝 水, {HOSTILE}")
    page.fill("#fill-text", f"我 渴 了 ， 天气 很 好 ， 所以 我 要 去 {HOSTILE} ____")
    page.wait_for_selector(f"#fill-cards th:text-is({HOSTILE!r})")
    page.wait_for_selector(".words b")
    assert page.locator("main img").count() == 0
    assert page.title() == "lmkit"
    page.fill("#fill-text", "no blank")
    page.wait_for_selector("#fill-cards:empty", state="attached")
    assert "____" in page.text_content("#status")


def test_views_and_the_slider_by_keyboard(page: Any) -> None:
    """Arrow keys choose a view and move the slider; an n-gram of order 3 sees no change beyond two tokens."""
    page.focus("#tab-fill")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#context-cards td")
    page.fill("#context-text", "我 把 手机 摔坏 了 ， 天气 很 好 ， 所以 我 要 去")
    page.wait_for_selector("#context-cards .note:has-text('14 tokens read')")
    shown = {}
    page.focus("#context-size")
    page.keyboard.press("Home")
    for k in range(4):
        assert page.text_content("#context-shown") == str(k)
        page.wait_for_selector(f"#context-cards article:first-child .note:has-text('{k} tokens read')")
        shown[k] = page.locator("#context-cards article:first-child td").all_text_contents()
        page.keyboard.press("ArrowRight")
    assert shown[2] == shown[3] != shown[1] != shown[0]
    page.wait_for_selector("#context-chart path")
    assert (
        page.locator("#context-chart figcaption")
        .text_content()
        .startswith("Probability of the watched token")
    )
    assert "no next token" in page.text_content("#context-cards article:nth-child(3)")


def test_a_unit_shows_what_was_expected(page: Any) -> None:
    """Units are one stop of the tab key; the chosen one shows the distribution in its place, itself marked."""
    page.click("#tab-surprisal")
    page.fill("#surprisal-text", "我 渴 了 ， 天气 很 好\n我 把 手机")
    page.wait_for_selector("#surprisal-cards article:first-child button:nth-of-type(12):last-of-type")
    card = page.locator("#surprisal-cards article").first
    assert card.locator("button").count() == 12
    assert card.locator("button[tabindex='0']").count() == 1
    card.locator("button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    card.locator("tr.chosen").wait_for()
    assert card.locator("tr.chosen th").text_content() == "渴"
    assert card.locator("button[aria-pressed='true']").text_content() == "渴"


def test_texts_stream_and_stop(page: Any) -> None:
    """With a seed the text is that of the completion; Stop ends it."""
    page.click("#tab-write")
    page.fill("#write-prompt", "我 渴")
    page.fill("#write-seed", "1")
    page.click("#write-start")
    page.wait_for_selector("#write-stop[disabled]")
    texts = page.locator("#write-cards .written").all_text_contents()
    assert len(texts) == 2
    assert all(text.startswith("我 渴") and len(text) > 5 for text in texts)
    assert page.text_content("#status") == "The models have answered."


def test_the_language_is_switched_and_kept(page: Any) -> None:
    """Labels, the document's language and the answers' headings change; the choice survives a reload."""
    page.click("#language")
    page.wait_for_selector("#fill-cards th:text-is('答案')")
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.reload()
    page.wait_for_selector("#fill-cards .words")
    assert page.text_content("#tab-fill") == "填空"
    assert page.text_content("#language") == "English"
