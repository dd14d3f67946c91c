"""The page and reports in a real browser: what the page asks, shows and refuses, by the keyboard too.

Chromium has to be installed (Debian: `apt install chromium fonts-noto-cjk`), and playwright; else these tests are
skipped. With the path of axe-core's axe.min.js in LMKIT_AXE (`npm install axe-core`), its rules are checked too.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.html import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("LMKIT_AXE")
SENTENCES = [
    "我 把 手机 摔坏 了 ， 天气 很 好 ， 所以 我 要 去 修 手机",
    "我 渴 了 ， 天气 很 好 ， 所以 我 要 去 喝 水",
] * 30
FIRST = "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。"
HOSTILE = "<img src=x onerror=document.title='broken'>"
EXPECTED = 120_000
"""Milliseconds to wait for an answer on a busy machine."""
VIEWS = ("fill", "context", "surprisal", "write")
VIOLATIONS = """async (tags) => {
  const found = await axe.run(document, {runOnly: tags, resultTypes: ["violations"]});
  const told = (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.failureSummary}`);
  return found.violations.flatMap(told);
}"""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"]


@pytest.fixture(scope="module")
def folder(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text, and runs of two n-grams and of an encoder."""
    found = tmp_path_factory.mktemp("page")
    text = found / "text.txt"
    text.write_text("\n".join(SENTENCES), encoding="utf-8")
    for order in (3, 6):
        lmkit.train(text, model="ngram", order=order, tokenizer="word", out=found / f"order-{order}")
    lmkit.train(
        text, model="elmo", inputs="tokens", tokenizer="word", out=found / "elmo",
        hidden_size=8, batch_size=2, bptt=8, max_steps=3, device="cpu",
    )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A server of the runs in this process; one has a name that is markup."""
    pytest.importorskip("starlette")
    uvicorn = pytest.importorskip("uvicorn")
    from lmkit.serve.app import Server, make_app
    from lmkit.serve.limits import Limits
    from lmkit.serve.listening import address_of, bound

    names = {"order-3": "order-3", "order-6": f"{HOSTILE[:4]} b", "elmo": "elmo"}
    server = Server({name: lmkit.load(folder / run, device="cpu") for run, name in names.items()}, Limits())
    listening = bound("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(make_app(server), log_level="warning", lifespan="on", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not running.started and thread.is_alive():
            time.sleep(0.01)
        yield address_of(listening, "127.0.0.1")
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Open]:
    """open_page(width=360, locale="en-US", ...): the page, once the first model has answered.

    A test fails if a script of a page fails or it asks another server.
    """
    problems: list[str] = []
    contexts = []

    def asked(request: Any) -> None:
        if not request.url.startswith((address, "data:")):
            problems.append(request.url)

    def start(width: int = 360, locale: str = "en-US", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale, **options)
        context.set_default_timeout(EXPECTED)
        contexts.append(context)
        found = context.new_page()
        found.on("pageerror", lambda error: problems.append(str(error)))
        found.on("request", asked)
        found.goto(address)
        found.wait_for_selector("#fill-cards .words")
        return found

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def all_answered(page: Any) -> None:
    """Wait for the words of the last model."""
    page.wait_for_selector("#fill-cards article:last-child .words")


@pytest.fixture
def page(open_page: Open) -> Any:
    """The page in English on a narrow screen."""
    return open_page()


def test_the_first_example_is_filled_in_by_all(page: Any) -> None:
    """Every run has a card with bars and coloured words, under its name as text; nothing is wider than the screen."""
    all_answered(page)
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
    for text in ("no blank", "____ and ____"):
        page.fill("#fill-text", text)
        page.wait_for_selector("#fill-cards:empty", state="attached")
        assert "____" in page.text_content("#status")


def test_views_and_the_slider_by_keyboard(page: Any) -> None:
    """Arrow keys choose a view and move the slider; an n-gram of order 3 sees no change beyond two tokens."""
    page.focus("#tab-fill")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#context-cards td")
    page.fill("#context-text", "我 把 手机 摔坏 了 ， 天气 很 好 ， 所以 我 要 去")
    page.wait_for_selector("#context-cards .note:has-text('Tokens read: 14')")
    shown = {}
    page.focus("#context-size")
    page.keyboard.press("Home")
    for k in range(4):
        assert page.text_content("#context-shown") == str(k)
        page.wait_for_selector(f"#context-cards article:first-child .note:has-text('Tokens read: {k} ')")
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
    page.wait_for_selector("#surprisal-cards article:first-child .words:nth-of-type(2) button:nth-of-type(4)")
    card = page.locator("#surprisal-cards article").first
    assert card.locator("button").count() == 12
    assert card.locator("button[tabindex='0']").count() == 1
    card.locator("button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    card.locator("tr.chosen").wait_for()
    assert card.locator("tr.chosen th").text_content() == "渴"
    assert card.locator("button[aria-pressed='true']").text_content() == "渴"


def test_each_line_has_its_own_direction(page: Any) -> None:
    """A first line from right to left does not turn the others round."""
    page.click("#tab-surprisal")
    page.fill("#surprisal-text", "שלום\n我 渴 了")
    page.wait_for_selector("#surprisal-cards button:text-is('שלום')")
    lines = page.locator("#surprisal-cards article:first-child .words")
    assert lines.evaluate_all("all => all.map((one) => getComputedStyle(one).direction)") == ["rtl", "ltr"]


def test_texts_stream_and_stop(page: Any) -> None:
    """With a seed the text is that of the completion; Stop ends it. An encoder says that it writes nothing."""
    page.click("#tab-write")
    page.fill("#write-prompt", "我 渴")
    page.fill("#write-seed", "1")
    page.click("#write-start")
    page.wait_for_selector("#write-stop[disabled]")
    texts = page.locator("#write-cards .written").all_text_contents()
    assert len(texts) == 2
    assert all(text.startswith("我 渴") and len(text) > 5 for text in texts)
    assert "no next token" in page.text_content("#write-cards article:nth-child(3)")
    assert page.text_content("#status") == "The models have answered."


def test_a_model_that_fails_keeps_its_text(page: Any) -> None:
    """What was written stays above the error, and the other models end their texts."""
    body = 'data: {"choices": [{"text": "half"}]}\n\ndata: {"error": {"message": "broken model"}}\n\n'

    def answer(route: Any) -> None:
        if "order-3" in route.request.post_data:
            route.fulfill(status=200, content_type="text/event-stream", body=body)
        else:
            route.continue_()

    page.route("**/v1/completions", answer)
    page.click("#tab-write")
    page.click("#write-start")
    page.wait_for_selector("#status.failed")
    assert page.text_content("#write-cards article:first-child").endswith("halfbroken model")
    assert page.locator("#write-cards .failed").count() == 1
    assert page.text_content("#status") == "Some models could not answer."


def test_a_server_that_is_gone(page: Any) -> None:
    """The page says what to look at, in each view."""
    page.route("**/*", lambda route: route.abort("connectionrefused"))
    page.fill("#fill-text", "我 ____")
    page.wait_for_selector("#status.failed:has-text('lmkit serve')")
    page.click("#tab-write")
    page.click("#write-start")
    page.wait_for_selector("#write-cards .failed")
    assert "lmkit serve" in page.text_content("#write-cards article:first-child")


def test_the_language_is_switched_and_kept(page: Any) -> None:
    """Labels, the document's language and the answers' headings change; the choice survives a reload."""
    page.click("#language")
    page.wait_for_selector("#fill-cards th:text-is('答案')")
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.reload()
    page.wait_for_selector("#fill-cards .words")
    assert page.text_content("#tab-fill") == "填空"
    assert page.text_content("#language") == "English"
    assert "参数" in page.text_content("#runs")


def answer(page: Any, view: str) -> None:
    """Open a view and wait for its answers. A click asks again; earlier answers stay until the new ones come."""
    page.click(f"#tab-{view}")
    if view == "write":
        page.click("#write-start")
        page.wait_for_selector("#write-stop[disabled]")
    page.wait_for_selector("#status:text-matches('have answered|已回答')")
    if view == "context":
        page.wait_for_selector("#context-chart summary")  # the table comes after the last point of the chart


def test_the_tab_key_reaches_everything_in_order(page: Any) -> None:
    """From the skip link to the last table, each stop is visible, below the status line; the skip link skips."""
    expected = {
        "fill": ["fill-text", *3 * ["example"], "fill-candidates", *3 * ["summary"]],
        "context": ["context-text", "context-size", "context-word", "summary"],
        "surprisal": ["surprisal-text", "surprisal-by", *2 * ["button", "summary"]],
        "write": [
            "write-prompt",
            "write-temperature",
            "write-tokens",
            "write-seed",
            "write-start",
            *2 * ["wide"],
        ],
    }
    for view in VIEWS:
        answer(page, view)
        page.focus(".skip")
        stops = []
        for _ in range(40):
            page.keyboard.press("Tab")
            if (stop := page.evaluate(STOP)) is None:
                break
            stops.append(stop)
        assert [name for name, _ in stops] == [
            "language",
            "run",
            "run",
            "run",
            f"tab-{view}",
            *expected[view],
        ]
        assert [name for name, visible in stops if not visible] == []
    page.focus(".skip")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(STOP)[0] == "write-prompt"


STOP = """() => {
  const found = document.activeElement;
  if (found === document.body) return null;
  const box = found.getBoundingClientRect();
  const status = document.getElementById("status").getBoundingClientRect();
  const example = found.parentElement.className === "examples" && "example";
  const name = found.id || found.name || example || found.className || found.localName;
  const inside = box.top >= 0 && box.bottom <= innerHeight && box.width > 0;
  const covered = status.top <= 0 && box.top < status.bottom && !found.closest("header, .skip, #runs");
  return [name, inside && !covered && getComputedStyle(found).outlineStyle !== "none"];
}"""

needs_axe = pytest.mark.skipif(
    AXE is None, reason="needs axe-core: LMKIT_AXE=node_modules/axe-core/axe.min.js"
)


def violations(page: Any) -> list[str]:
    """The rules of axe-core that a page breaks, with all its tables open."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    return page.evaluate(VIOLATIONS, TAGS)


@needs_axe
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_keeps_the_rules_of_axe(open_page: Open, width: int, theme: str, locale: str) -> None:
    """Each view with answers, in both languages and themes, on both screens."""
    page = open_page(width, locale, color_scheme=theme)
    for view in VIEWS:
        answer(page, view)
        if view == "surprisal":
            page.click("#surprisal-cards .words button >> nth=0")
            page.wait_for_selector("tr.chosen")
        assert violations(page) == [], view


@pytest.fixture(scope="module")
def reports(folder: Path) -> list[Path]:
    """A report of each kind."""
    runs = [folder / "order-3", folder / "order-6"]
    text = folder / "text.txt"
    records = lmkit.load(runs[0]).surprisal("我 渴 了", entropy=True, rank=True)
    parts = {
        "fill": lmkit.fill([*runs, folder / "elmo"], FIRST, why=True).html(),
        "compare": lmkit.compare(runs, text).html(),
        "context": lmkit.context(runs, text, longest=4).html(),
        "distances": lmkit.distances(runs, farthest=1, count=2).html(),
        "surprisal": records.html("a") + records.html("b"),
    }
    paths = []
    for name, found in parts.items():
        path = folder / f"{name}.html"
        path.write_text(report(name, *found), encoding="utf-8")
        paths.append(path)
    return paths


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_reports_keep_the_rules_of_axe(browser: Any, reports: list[Path], width: int, theme: str) -> None:
    """Every kind of report, which is not wider than the screen."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, bypass_csp=True
    )
    page = context.new_page()
    for path in reports:
        page.goto(path.as_uri())
        assert violations(page) == [], path.name
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
