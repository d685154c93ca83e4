"""What one experiment was run as, on one page: numbers of threads, sizes, element types, kernels on paper."""

from dataclasses import replace
from pathlib import Path

import altair
import pytest

from tests.report.stored import GEMM, PROTOCOL, campaign
from tests.report.test_paper import on_paper
from tests.report.test_report import data, no_vega, page_of, store, words
from tuner.core.stats import Interval
from tuner.core.workload import Workload
from tuner.report.comparison import Comparison
from tuner.report.html.subject import subject
from tuner.report.rows import ComparisonRow
from tuner.report.series_table import over_base, series_table
from tuner.store.store import Store

__all__ = ["no_vega", "store"]
FEW = {"cpp_packed": (4, False, 2e-4), "numpy": (1, True, 3e-4)}
QUICKER = {"cpp_packed": (4, False, 1e-4), "numpy": (1, True, 1.5e-4)}


def typed(dtype: str) -> Workload:
    return Workload("gemm", dtype, GEMM.dims)


def test_numbers_of_threads_and_kernels_on_paper_are_one_page(store: Store, tmp_path: Path) -> None:
    held = replace(PROTOCOL, sustained_s=2.0, clock_mhz=1410)
    campaign(store, FEW, experiment="grown@threads1", protocol=replace(held, threads=1))
    two = campaign(store, QUICKER, experiment="grown@threads2", protocol=held)
    campaign(store, QUICKER, experiment="other@threads2")
    on_paper(store, store.campaign(two), "grown@cuda:sm_90")
    text = page_of(store, "grown", tmp_path)
    said = words(text)
    assert f"{GEMM.key} · 1 thread" in said and f"{GEMM.key} · 2 threads" in said
    assert "cpp_packed, over its rate on 1 thread: 2.00 times on 2 threads" in said
    assert "sustained 2 s, clock held at 1410 MHz" in said
    chart = data(text, "over_threads")
    assert [(v["place"], v["name"]) for v in chart["data"]["values"]] == [
        ("1", "cpp_packed"), ("1", "numpy"), ("2", "cpp_packed"), ("2", "numpy"),
    ]  # fmt: skip
    altair.Chart.from_dict(chart)
    # On paper: beside the first measured table, and with a section of its own; a rank and never a time.
    assert said.count("rank 1 of 2") == 2 and "96 registers, 2.0 KiB shared, no spills" in said
    assert "Compiled for cuda:sm_90, not measured" in said and "Nothing of this was measured" in said
    assert "right on 5 shapes, emulated" in said and "A model ranks cuda_tiles first of 2 kernels" in said
    assert "nothing right to rank (build_error: 1)" in said
    assert "2.00 µs" not in said and "9.00 µs" not in said and "2 µs" not in said
    table = data(text, "all_trials")
    names = [column["name"] for column in table["columns"]]
    time, rank = (table["data"][names.index(name)] for name in ("time", "rank"))
    assert [(t, r) for t, r in zip(time, rank, strict=True) if r is not None] == [(None, 1), (None, 1)]
    assert "variant" in names
    # Without a name the page is of the whole experiment too, though its last campaign is on paper.
    assert words(page_of(store, None, tmp_path)).split("Made by")[0] == said.split("Made by")[0]
    alone = words(page_of(store, f"c{two}", tmp_path))
    assert "· 1 thread" not in alone and "rank" not in alone


def test_the_last_of_each_variant_is_shown_and_what_the_file_was_before_is_not(store: Store) -> None:
    campaign(store, FEW, experiment="e")
    old = [
        campaign(store, FEW, experiment=f"e@threads{n}", protocol=replace(PROTOCOL, threads=n))
        for n in (2, 1)
    ]
    campaign(store, FEW, experiment="e@threads2", finish=False)
    about = subject("e", store)
    assert [c.id for c in about.campaigns] == old[::-1]
    assert [remark for remark in about.remarks if "newer and did not finish" in remark]
    last = campaign(store, FEW, experiment="e")
    assert [c.id for c in subject("e.toml", store).campaigns] == [last]


def test_element_types_have_a_chart_with_the_ratio_and_so_have_sizes(store: Store, tmp_path: Path) -> None:
    campaign(store, QUICKER, (typed("f32"), typed("f16"), typed("int8")), experiment="types")
    text = page_of(store, "types", tmp_path)
    values = data(text, "over_dtypes")["data"]["values"]
    assert [v["label"] for v in values if v["name"] == "cpp_packed"] == ["", "1.00×", "1.00×"]
    assert "cpp_packed, over its rate in f32: 1.00 times in f16, 1.00 times in int8" in words(text)
    assert "Take this as a hint" not in words(text)
    campaign(store, QUICKER, (typed("f32"), typed("f16")), experiment="busy", disturbed="a neighbour")
    assert "Take this as a hint: in f32, in f16 nothing is declared" in words(
        page_of(store, "busy", tmp_path)
    )
    altair.Chart.from_dict(data(text, "over_dtypes"))
    sizes = tuple(Workload("gemm", "f32", (("m", m), ("n", m), ("k", m))) for m in (512, 64, 128))
    campaign(store, QUICKER, sizes, experiment="sizes")
    values = data(page_of(store, "sizes", tmp_path), "over_sizes")["data"]["values"]
    assert list(dict.fromkeys(v["place"] for v in values)) == ["64", "128", "512"]


def test_a_kept_previous_best_and_a_loud_machine_stand_in_the_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = campaign(store, QUICKER)
    found = store.campaign(number)
    said = ("loud machine: all 2 finalists were slower", "cpp_packed: t2 differs from the previous best")
    part = replace(found.parts[0], remarks=said)
    monkeypatch.setattr(store, "campaign", lambda _: replace(found, parts=[part]))
    text = page_of(store, f"c{number}", tmp_path)
    answer = words(text.split('class="answer', 1)[1].split("</div>", 1)[0])
    assert all(f"The final: {remark}." in answer for remark in said)
    assert words(text).count("loud machine") == 1


def test_the_terminal_s_table_has_the_ratio_to_f32() -> None:
    from datetime import UTC, datetime

    from tuner.report.rows import RowContext

    def made(dtype: str, rate: float, threads: int = 2) -> Comparison:
        context = RowContext("t", typed(dtype), "A CPU", threads, "warm", datetime(2026, 1, 2, tzinfo=UTC), 1)
        row = ComparisonRow("cpp_packed", "cpp_packed", "cxx", {}, Interval(1.0, 1.0, 1.0), rate)
        return Comparison(context, [row], [])

    both = [made("f32", 100.0), made("int8", 250.0), made("f16", 50.0, threads=1)]
    assert over_base(both[1], both, "f32") == 2.5
    assert over_base(both[0], both, "f32") is None and over_base(both[2], both, "f32") is None
    # Nothing is claimed of what a busy machine took, on either side.
    for at in (0, 1):
        busy = [*both]
        busy[at] = replace(both[at], context=replace(both[at].context, disturbed="others had the cores"))
        assert over_base(busy[1], busy, "f32") is None
    column = series_table(both).columns[-1]
    assert (column.header, list(column.cells)) == ("vs f32", ["-", "2.50x", "-"])
    assert series_table(both[:1]).columns[-1].header != "vs f32"

    # A share of a peak that was measured on a busy machine is marked here as in the table of its workload.
    both = [replace(one, rows=[replace(row, share_of_peak=0.5) for row in one.rows]) for one in both]
    loud = [replace(one, context=replace(one.context, peaks_disturbed=True)) for one in both]
    for shown, mark in ((both, ""), (loud, "?")):
        shares = next(column for column in series_table(shown).columns if column.header == "of peak")
        assert all(cell.endswith("%" + mark) for cell in shares.cells), list(shares.cells)
