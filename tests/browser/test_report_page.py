"""The report in a real browser: charts have marks, the table sorts, it fits a phone and the dark."""

from pathlib import Path
from typing import Any

import pytest

from tests.report.stored import campaign
from tuner.report.html.report import report
from tuner.store.store import open_store

KERNELS = {
    "cpp_naive": (1, False, 3e-3),
    "cpp_packed": (60, False, 1.2e-4),
    "tir_packed</script><script>document.title='hostile'</script>": (40, False, 1e-4),
    "numpy": (1, True, 1.31e-4),
}


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("page")
    with open_store(str(folder / "r.db")) as store:
        campaign(store, KERNELS)
        report("c1", store, folder / "report.html")
    return (folder / "report.html").as_uri()


def test_every_chart_has_marks_and_nothing_is_loaded(visit, all_drawn, address) -> None:
    page = visit(address)
    all_drawn(page)
    marks = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("[data-chart]")]
          .filter((f) => f.checkVisibility())
          .map((f) => [f.dataset.chart, f.querySelectorAll("[class*=mark-] path").length]))"""
    )
    assert len(marks) == 7 and min(marks.values()) > 0, marks
    assert page.title() == "A title"  # and not what a kernel's name would have it be
    assert "is the fastest of 4 implementations" in page.locator(".answer").inner_text()


def test_sorting_and_filtering_change_the_rows(visit, address) -> None:
    page = visit(address)

    def column(number: int) -> list[str]:
        return page.locator(f".rows tbody tr td:nth-child({number})").all_inner_texts()

    names = [name.strip() for name in page.locator(".rows thead th").all_inner_texts()]
    trial, outcome = names.index("Trial") + 1, names.index("Outcome") + 1
    assert len(column(trial)) == 25 and "1–25 of 102" in page.locator(".pages").inner_text()
    page.get_by_role("button", name="Time").click()
    page.wait_for_function("document.querySelector('.rows tbody td').textContent !== 't6'")
    assert page.locator("th[aria-sort=descending]").inner_text().strip() == "Time"
    page.get_by_label("later rows").click()
    page.wait_for_function("document.querySelector('.pages span').textContent.startsWith('26')")
    page.get_by_label("Outcome").select_option("=did not compile")
    page.wait_for_function("document.querySelector('.pages span').textContent.includes('of 102')")
    assert (
        set(column(outcome)) == {"did not compile"}
        and "of 13 (of 102)" in page.locator(".pages").inner_text()
    )
    page.get_by_label("Filter trials").fill("cpp_packed mc=96 nr=8")
    page.wait_for_function("!document.querySelector('.pages span').textContent.includes('of 13')")
    found = page.locator(".rows tbody tr").all_inner_texts()
    assert 0 < len(found) < 13 and all("cpp_packed" in row and "MC=96 NR=8" in row for row in found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_scrolls_down_only_and_everything_is_readable(
    theme, visit, all_drawn, contrast, cut_off, address
) -> None:
    page = visit(address, 390, theme)
    all_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    least, text = contrast(page)
    assert least >= 4.5, text
    assert cut_off(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator(".theme").click()
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor !== '{background}'")


def test_paper_is_white_and_nothing_is_folded_on_it(visit, address) -> None:
    page = visit(address, theme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with Chromium's margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details:not([open])").count() == 0
    page.wait_for_function(
        "[...document.querySelectorAll('[data-chart]')].every((f) => f.querySelector('svg'))"
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
