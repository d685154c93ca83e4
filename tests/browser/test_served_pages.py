"""The served pages in a real browser: marks, sorting and filtering, live trials, a phone, the dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="no fastapi (the extra `serve`)")

from tests.report.stored import trials
from tests.serve.made import begin, fill
from tests.serve.running import served
from tuner.store.store import open_store

PAGES = {
    "": 0, "live": 0, "best": 0, "workloads": 0, "sweeps": 0, "trials": 0, "campaigns": 0, "devices": 0,
    "search?q=gemm": 0, "workloads/1": 2, "sweeps/2": 1, "trials/2": 1, "campaigns/1": 1,
    "campaigns/2": 0,
}  # fmt: skip
"""How many charts each has, by its path."""
MARKS = """() => [...document.querySelectorAll("[data-chart]")].filter((f) => f.checkVisibility())
  .map((f) => f.querySelectorAll("[class*=mark-] path").length)"""


@pytest.fixture(scope="module")
def place(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server's address, and its database."""
    path = tmp_path_factory.mktemp("served") / "results.db"
    fill(path)
    with served(path) as (url, _):
        yield url, path


def until(page: Any, condition: str, arg: Any = None) -> None:
    """Waits for a condition; playwright's own way compiles its text, which the pages' policy forbids."""
    text = condition if "=>" in condition.split(" ")[1:2] else f"() => {condition}"
    for _ in range(600):
        if page.evaluate(text, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it did not come true: {condition}")


def settled(page: Any) -> None:
    """Waits until every table has its rows."""
    until(
        page,
        "[...document.querySelectorAll('[data-remote] .pages span')].every((s) => s.textContent)"
        " && [...document.querySelectorAll('[data-remote]')].every((h) => h.table)",
    )


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.sampled(7)
def test_a_page_has_its_marks_fits_a_phone_and_can_be_read(
    path: str, visit: Any, all_drawn: Any, contrast: Any, cut_off: Any, place: tuple[str, Path]
) -> None:
    """Wide and light, then narrow and dark; `visit` fails on whatever the console says."""
    page = visit(place[0] + path)
    settled(page)
    all_drawn(page)
    marks = page.evaluate(MARKS)
    assert len(marks) == PAGES[path] and all(marks), marks
    least, text = contrast(page)
    assert least >= 4.5, text
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 800})
    until(page, "getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    all_drawn(page)
    least, text = contrast(page)
    assert least >= 4.5, text
    assert cut_off(page) == []


def column(page: Any, name: str) -> list[str]:
    """The texts of a column of the page's last table."""
    table = page.locator("[data-remote]").last
    names = [head.strip() for head in table.locator("thead th").all_inner_texts()]
    return [
        text.strip()
        for text in table.locator(f"tbody td:nth-child({names.index(name) + 1})").all_inner_texts()
    ]


def test_the_server_sorts_filters_and_cuts_to_pages(visit: Any, place: tuple[str, Path]) -> None:
    page = visit(place[0] + "trials")
    settled(page)
    where = page.locator(".pages span")
    first = column(page, "trial")
    assert len(first) == 50
    page.get_by_label("later rows").click()
    until(page, "document.querySelector('.pages span').textContent.startsWith('51')")
    second = column(page, "trial")
    assert second and not set(zip(first, column(page, "sweep"), strict=False)) & set(
        zip(second, first, strict=False)
    )
    page.get_by_label("earlier rows").click()
    until(page, "document.querySelector('.pages span').textContent.startsWith('1–')")
    assert column(page, "trial") == first
    page.get_by_role("button", name="time").click()
    until(page, "document.querySelector('th[aria-sort=ascending]')")
    fastest = column(page, "trial")
    assert fastest != first and set(column(page, "status")) == {"ok"}
    page.get_by_role("button", name="time").click()
    until(page, "document.querySelector('th[aria-sort=descending]')")
    assert column(page, "trial") != fastest
    page.get_by_label("status").select_option("=build_error")
    until(
        page, "[...document.querySelectorAll('tbody tr')].every((r) => r.textContent.includes('build_error'))"
    )
    assert set(column(page, "status")) == {"build_error"}
    page.get_by_label("Filter trials").fill("no such words")
    until(page, "document.querySelector('.pages span').textContent.startsWith('nothing')")
    assert where.inner_text().startswith("nothing matches (of ")


def test_the_live_page_shows_a_trial_as_it_is_stored(visit: Any, place: tuple[str, Path]) -> None:
    url, path = place
    page = visit(url + "live")
    page.wait_for_selector(".state.on")
    number, spec = begin(path)
    made = trials(spec, 4, 4)
    with open_store(path) as store:
        ids = store.add_trials(number, made[:2])
        page.wait_for_selector(f'#latest [data-trial="{ids[1]}"]')
        card = page.locator(f'[data-sweep="{number}"]')
        until(
            page,
            "n => document.querySelector(`[data-sweep='${n}'] .trials`)?.textContent === '2'",
            arg=number,
        )
        page.wait_for_selector("#live-figure svg path")
        failed = store.add_trials(number, made[3:])[0]
        row = page.wait_for_selector(f'#latest [data-trial="{failed}"]')
        assert "</script>" in row.inner_text()  # of a hostile error: text
        store.finish_sweep(number)
        until(
            page,
            "n => document.querySelector(`[data-sweep='${n}'] .label`)?.textContent === 'finished'",
            arg=number,
        )
    assert "3 of 9 trials" in card.inner_text()


def test_what_is_stored_before_the_page_listens_is_shown(visit: Any, place: tuple[str, Path]) -> None:
    url, path = place
    number, spec = begin(path)
    made = trials(spec, 4, 0)
    page = visit(url + "devices")
    page.add_init_script("""window.Real = EventSource;
        window.EventSource = function (url) {
          window.asked = url;
          return { addEventListener() {}, close() {} };
        };""")
    page.goto(url + "live")
    until(page, "window.asked")
    with open_store(path) as store:
        ids = store.add_trials(number, made)
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    page.evaluate("() => { window.EventSource = window.Real; dispatchEvent(new Event('pageshow')); }")
    for trial in ids:
        page.wait_for_selector(f'#latest [data-trial="{trial}"]')


def test_the_page_is_not_live_before_the_server_has_looked(visit: Any, place: tuple[str, Path]) -> None:
    """A trial stored between the connection and the server's first look would never be shown."""
    page = visit(place[0] + "live")
    page.route(
        "**/api/events*",
        lambda route: route.fulfill(content_type="text/event-stream", body="retry: 60000\n\n"),
    )
    page.add_init_script("""new MutationObserver((changes) => {
        window.states = [...(window.states || []), ...changes.map((c) => c.target.className)];
    }).observe(document, { subtree: true, attributes: true, attributeFilter: ["class"] });""")
    page.reload()
    until(page, "document.querySelector('.state').textContent.includes('trying again')")
    states = page.evaluate("window.states")
    assert "state off" in states and "state on" not in states


def test_hostile_names_stay_text_in_tables_and_filters(visit: Any, place: tuple[str, Path]) -> None:
    page = visit(place[0] + "sweeps")
    page.on("dialog", lambda dialog: pytest.fail("a stored name ran as a script"))
    settled(page)
    assert any("<script>alert(1)</script>" in text for text in column(page, "kernel"))
    page.get_by_label("kernel").select_option(index=1)
    until(page, "document.querySelectorAll('tbody tr').length < 5")


def test_a_phone_s_places_are_reached_by_pushing_them_aside(visit: Any, place: tuple[str, Path]) -> None:
    page = visit(place[0], 390)
    page.get_by_role("link", name="Devices").click()
    page.wait_for_url("**/devices")
    assert page.locator("nav a[aria-current=page]").inner_text() == "Devices"
