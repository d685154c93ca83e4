"""The report of a campaign, a workload, a sweep: every section, hostile texts, empty and failed ones."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import altair
import pytest

from tests.report.stored import GEMM, campaign, swept
from tuner import registry
from tuner.core.errors import StoreError, TunerError
from tuner.core.space import Parameter
from tuner.core.workload import Workload
from tuner.report.html import shell
from tuner.report.html.report import report
from tuner.store.store import Store, open_store

KERNELS = {
    "cpp_naive": (1, False, 3e-3),
    "cpp_packed": (60, False, 1.2e-4),
    "tir_packed": (40, False, 1e-4),
    "numpy": (1, True, 1.31e-4),
}
original = shell.asset


@pytest.fixture(autouse=True)
def no_vega(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "asset", lambda name: "//" if name == "vega.js" else original(name))


@pytest.fixture
def store(tmp_path: Path):
    with open_store(str(tmp_path / "r.db")) as opened:
        yield opened


def page_of(store: Store, what: str | None, tmp_path: Path) -> str:
    file = tmp_path / "new" / "page.html"
    assert report(what, store, file) == [file]
    text = file.read_text()
    check(text)
    return text


def check(text: str) -> None:
    """Well-formed, loads nothing, runs nothing but its own scripts."""
    found: list[str] = []
    stack: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append(tag)
            named = dict(attributes)
            assert not {"src", "srcset", "action", "onclick", "onload"} & named.keys(), tag
            assert named.get("href", "#").startswith("#"), named
            if tag not in ("meta", "input", "br"):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    checker = Checker()
    checker.feed(text)
    checker.close()
    assert stack == [] and not {"link", "iframe", "img", "object"} & set(found)
    assert not re.search("https?:", text.split("<script>")[0]) and "url(" not in text.split("</style>")[0]
    assert "<script>alert" not in text


def data(text: str, name: str) -> dict:
    (block,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    return json.loads(block)


def words(text: str) -> str:
    """What a reader sees before any script has run."""
    body = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_a_campaign_s_page_says_who_won_by_how_much_and_how_sure_that_is(store, tmp_path) -> None:
    campaign(store, KERNELS)
    text = page_of(store, None, tmp_path)
    said = words(text)
    assert "tir_packed is the fastest of 4 implementations" in said
    assert "1.31 times as fast as numpy, the fastest library (95% interval: 1.31 to 1.31)" in said
    assert "30.0 times as fast as the plain program cpp_naive" in said
    assert "timed again side by side" in said and "A device, 2 threads, warm cache" in said
    assert "102 trials, 100 of them of 2 kernels with parameters; 13 of them failed" in said
    for heading in (
        "How the implementations compare", "How the search went", "What the machine allows",
        "Which parameters mattered", "What failed", "The configurations to use", "All trials",
        "How it was measured",
    ):  # fmt: skip
        assert heading in said
    assert "What moved the time most: MC" in said
    assert "did not compile" in said and "error: &lt;/script&gt;" in said
    assert "tuner best gemm --shape &#39;m256 n256 k256&#39; --kernel tir_packed" in said
    assert "tuner.load(&#39;gemm&#39;, m=256, n=256, k=256" in said
    charts = ("comparison", "best_by_trials", "best_by_seconds", "roofline", "tir_packed_importance",
              "tir_packed_pairs", "tir_packed_parallel")  # fmt: skip
    assert {f"w1_{name}" for name in charts} <= set(re.findall(r'data-chart="(.+?)"', text))
    assert len(data(text, "all_trials")["data"][0]) == 102
    for name in charts:
        altair.Chart.from_dict(data(text, f"w1_{name}"))  # as its schema has it


def test_a_tie_a_disturbed_final_and_a_slower_kernel_are_called_so(store, tmp_path) -> None:
    few = {"cpp_naive": (1, False, 3e-3), "tir_packed": (4, False, 1e-4), "numpy": (1, True, 1.31e-4)}
    tie = {**few, "cpp_packed": (4, False, 1e-4)}
    slower = {"cpp_packed": (4, False, 2e-4), "numpy": (1, True, 1e-4)}
    first, second = campaign(store, tie), campaign(store, few, disturbed="a neighbour had the cores")
    third = campaign(store, slower)
    said = words(page_of(store, f"c{first}", tmp_path))
    assert re.search("A tie: (cpp_packed and tir_packed|tir_packed and cpp_packed) cannot be told", said)
    said = words(page_of(store, f"c{second}", tmp_path))
    assert "No winner is declared" in said and "a neighbour had the cores" in said
    assert "times as fast as" not in said
    said = words(page_of(store, f"c{third}", tmp_path))
    assert "numpy, a library, is the fastest of 2" in said
    assert "cpp_packed is slower than numpy, the fastest library: 0.500 times its speed" in said
    assert "are too few to tell which parameters matter" in said


def test_a_campaign_of_several_workloads_begins_with_all_of_them(store, tmp_path) -> None:
    sizes = tuple(Workload("gemm", "f32", (("m", m), ("n", 64), ("k", 64))) for m in (64, 128, 256))
    few = {"cpp_packed": (4, False, 1e-4), "numpy": (1, True, 1.5e-4)}
    campaign(store, few, sizes, finish=False, title="Title <b>&amp;")
    text = page_of(store, "experiments/made_up.toml", tmp_path)
    said = words(text)
    assert "Of 2 workloads with a library beside the tuned kernels" in said and "faster on 2" in said
    assert "was interrupted (2 of 3 workloads finished)" in said and "no winner is declared" in said
    assert "Title &lt;b&gt;&amp;amp;" in said
    assert [row["name"] for row in data(text, "speedups")["data"]["values"]] == [
        "m64-n64-k64",
        "m128-n64-k64",
    ]
    assert "facet" in data(text, "all_trials")["columns"][1]


def test_a_sweep_and_a_workload_have_pages(store, tmp_path, monkeypatch) -> None:
    sweep, _ = swept(store, "cpp_packed", 14)
    said = words(page_of(store, f"s{sweep}", tmp_path))
    assert "cpp_packed takes" in said and "nothing to compare it with" in said
    drawn: list[str] = []
    monkeypatch.setattr("tuner.report.html.report.write", lambda chart, folder: [drawn.append(chart.name)])
    report(f"s{sweep}", store, None, tmp_path / "figures")
    assert drawn[:3] == ["comparison", "best_by_trials", "best_by_seconds"]
    swept(store, "tir_packed", 30)
    said = words(page_of(store, GEMM.key, tmp_path))
    assert "no winner is declared" in said and "Times are of different minutes" in said
    campaign(store, {"cpp_packed": (4, False, 1e-4), "numpy": (1, True, 1.5e-4)})
    said = words(page_of(store, GEMM.key, tmp_path))
    assert "cpp_packed is the fastest of 2 implementations" in said


def test_a_recording_is_not_taken_for_a_measurement(store, tmp_path) -> None:
    from tuner.core.measurement import Status
    from tuner.core.recorded import RecordedSpace, RecordedTrial
    from tuner.engine.recorded.exchange import import_recorded

    trials = [
        RecordedTrial({"BLOCK": 2**i}, Status.OK, (1e-3 / (i + 1),) * 7, 1e-3 / (i + 1)) for i in range(5)
    ]
    space = RecordedSpace(
        "their kernel", "a board", (64,), (Parameter("BLOCK", (1, 2, 4, 8, 16)),), tuple(trials)
    )
    import_recorded(store, space)
    (sweep,) = store.sweeps()
    text = page_of(store, f"s{sweep.id}", tmp_path)
    said = words(text)
    assert "Replayed, not measured here" in said and "Replayed from a recording" in said
    assert "Measured on" not in said
    assert "evidence" in [column["name"] for column in data(text, "all_trials")["columns"]]


def test_nothing_right_and_nothing_reached_have_pages_too(store, tmp_path) -> None:
    sweep, _ = swept(store, "cpp_packed", 5, failing=1)
    said = words(page_of(store, f"s{sweep}", tmp_path))
    assert "Nothing was timed" in said and "5 of them failed" in said
    empty = store.begin_sweep(store.sweep(sweep).spec)
    said = words(page_of(store, f"s{empty}", tmp_path))
    assert "No trial was made" in said and "running" in said


@pytest.mark.parametrize("operator", sorted(registry.operators()))
def test_every_operator_has_a_page(operator: str, store, tmp_path) -> None:

    known = registry.operator(operator)
    workload = known.parse(known.example, known.dtypes[-1])
    campaign(store, {"one": (4, False, 1e-4), "two": (1, True, 2e-4)}, (workload,))
    said = words(page_of(store, None, tmp_path))
    assert workload.key in said and f"tuner.load(&#39;{operator}&#39;" in said


def test_what_is_not_there_is_said_in_one_line(store, tmp_path) -> None:
    with pytest.raises(TunerError, match="no campaign"):
        report(None, store, tmp_path / "p.html")
    campaign(store, {"cpp_packed": (4, False, 1e-4)})
    for what, word in (
        ("c9", "campaign 9"), ("s99", "sweep 99"), ("nowhere", "experiments with campaigns: made_up"),
        ("made_upp.toml", "did you mean made_up"), ("gemm/f32/zzz", "a workload is named OPERATOR/"),
        ("gemm/f32/m256-n256-k25", "did you mean gemm/f32/m256-n256-k256"),
    ):  # fmt: skip
        with pytest.raises((TunerError, StoreError), match=word):
            report(what, store, tmp_path / "p.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(TunerError, match="cannot be written"):
        report("c1", store, tmp_path / "file" / "p.html")


def test_the_command_s_last_line_names_the_page(store, tmp_path, capsys) -> None:
    from tuner.cli import app

    campaign(store, {"cpp_packed": (4, False, 1e-4)})
    database, page = str(tmp_path / "r.db"), tmp_path / "page.html"
    app(["report", "made_up", "--html", str(page), "--db", database], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {page}" and page.exists()
    with pytest.raises(TunerError, match="--html"):
        app(["report", "made_up", "--db", database], standalone_mode=False)
