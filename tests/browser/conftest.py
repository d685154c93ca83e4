"""A real browser: headless Chromium, driven by playwright. Without either, these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Debian's Chromium reaches out for updates and QUIC unless it is told not to.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ENOUGH = 4.5
# Of all visible texts: the least contrast against what lies behind them (WCAG 2.1, 1.4.3).
CONTRAST = """() => {
  const channels = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const c = channels(getComputedStyle(at).backgroundColor);
      if (c.length < 4 || c[3] > .99) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, style, button:disabled") || !element.checkVisibility()) continue;
    const svg = element.closest("svg"), style = getComputedStyle(element);
    const [a, b] = [light(channels(svg ? style.fill : style.color)), light(behind(svg || element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
}"""


@pytest.fixture(scope="module")  # playwright's event loop runs in this thread until it ends: no other can
def browser() -> Iterator[Any]:
    """Chromium; ended before other tests, whose commands may run a loop of their own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra dev")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium: on Debian, apt install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address; fails at the end if the page reported an error or a file asked for anything."""
    contexts, problems = [], []

    def opened(address: str, width: int = 1280, theme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        if address.startswith("file:"):
            page.on("request", lambda r: problems.append(r.url) if not r.url.startswith("file:") else None)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def contrast() -> Callable[[Any], tuple[float, str]]:
    """The least contrast of any text on a page, and that text.

    Charts are drawn anew for another theme a moment after the page has its colours: it is asked for again
    while it is too little, for ten seconds.
    """

    def least(page: Any) -> tuple[float, str]:
        for _ in range(200):
            found: tuple[float, str] = tuple(page.evaluate(CONTRAST))
            if found[0] >= ENOUGH:
                break
            page.wait_for_timeout(50)
        return found

    return least


@pytest.fixture
def all_drawn() -> Callable[[Any], None]:
    """Scrolls through a page until every chart that is not folded away has been drawn."""

    def scrolled(page: Any) -> None:
        page.evaluate(
            """async () => {
              const seen = [...document.querySelectorAll("[data-chart]")].filter((f) => f.checkVisibility());
              for (const figure of seen) figure.scrollIntoView();
              for (let i = 0; i < 200 && seen.some((f) => !f.querySelector("svg")); i++) {
                seen.find((f) => !f.querySelector("svg")).scrollIntoView();
                await new Promise((done) => setTimeout(done, 25));
              }
            }"""
        )

    return scrolled


@pytest.fixture
def cut_off() -> Callable[[Any], list[str]]:
    """Texts of charts that end outside of their picture: a phone shows 4.43 m in place of 4.43 ms."""

    def found(page: Any) -> list[str]:
        return list(
            page.evaluate(
                """() => [...document.querySelectorAll("[data-chart] svg")].flatMap((svg) => {
                  const box = svg.getBoundingClientRect();
                  return [...svg.querySelectorAll("text")].filter((text) => {
                    const at = text.getBoundingClientRect();
                    return at.width && (at.right > box.right + 1 || at.left < box.left - 1);
                  }).map((text) => text.textContent);
                })"""
            )
        )

    return found
