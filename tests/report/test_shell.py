"""The shell of pages: hostile texts stay text, the policy lists the scripts, numbers have units."""

import base64
import hashlib
import json
import re

import pytest
from jinja2 import ChoiceLoader, DictLoader

from tuner.report import units
from tuner.report.html import shell, vega
from tuner.report.html.table_data import Column, table

HOSTILE = "</script><script>alert(1)</script><!--\u2028"
TEMPLATE = """{% extends 'base.html' %}{% import 'parts.html' as parts %}{% block main %}<p>{{ name }}</p>
{{ parts.rows('t', data) }}{{ parts.chart(chart) }}{% endblock %}"""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    environment = shell.environment()
    loaders = [DictLoader({"test.html": TEMPLATE}), environment.loader]
    monkeypatch.setattr(environment, "loader", ChoiceLoader(loaders))
    monkeypatch.setattr(shell, "asset", assets_without_vega)
    spec = {
        "data": {"values": [{"name": HOSTILE, "y": 1}]},
        "mark": {"type": "bar", "color": "--tuned"},
        "encoding": {"y": {"field": "name", "type": "nominal"}, "x": {"field": "y", "type": "quantitative"}},
    }
    rows = [[HOSTILE, 1e-3], ["b", None], [HOSTILE, 2e-3], [HOSTILE, 3e-3]]
    data = table([Column("name", "Name", facet=True), Column("time", "Time", "time")], rows)
    chart = vega.Chart("c", spec, HOSTILE)
    return shell.page("test.html", f"Title {HOSTILE}", charts=True, name=HOSTILE, data=data, chart=chart)


original = shell.asset


def assets_without_vega(name: str) -> str:
    return "/* vega */" if name == "vega.js" else original(name)


def scripts(page: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


def test_a_hostile_name_does_not_become_a_script(page: str) -> None:
    assert "<script>alert" not in page and "<!--" not in page
    blocks = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page, re.DOTALL)
    data = {name: json.loads(text) for name, text in blocks}
    assert data["c"]["data"]["values"][0]["name"] == HOSTILE
    # What a terminal would obey is shown, not done, in tables too.
    assert data["t"]["data"][0]["dictionary"][0] == HOSTILE.replace("\u2028", "\\u2028")


def test_the_policy_lets_the_page_s_own_scripts_run_and_nothing_load(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    allowed = re.findall(r"sha256-([\w+/=]+)", policy)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts(page)]
    assert allowed == digests and len(digests) == 4
    assert "default-src &#39;none&#39;" in policy and "http" not in policy
    assert not re.findall(r'(?:src|href)="', page)


def test_a_served_page_names_its_assets_instead() -> None:
    text = shell.policy(["", ""], charts=True, served=True)
    assert "script-src 'self' 'unsafe-eval'" in text and "sha256" not in text and "connect-src 'self'" in text


def test_the_packed_library_cannot_end_its_script() -> None:
    text = shell.asset("vega.js")
    assert 5e5 < len(text) < 1.2e6
    assert not re.search(r"</script|<!--", text, re.IGNORECASE)


def test_a_table_s_recurring_texts_stand_once() -> None:
    made = table(
        [Column("k", "K", facet=True), Column("t", "T", "time")], [["a", 1.23456789], ["b", None]] * 9
    )
    assert made["data"] == [{"dictionary": ["a", "b"], "codes": [0, 1] * 9}, [1.23457, None] * 9]
    assert made["columns"][0]["facet"] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (units.quantity(1.24e9, "MAC"), "1.24 GMAC"),
        (units.quantity(6.69e13, "FLOP/s"), "66.9 TFLOP/s"),
        (units.quantity(999, "FLOP"), "999 FLOP"),
        (units.quantity(0.042, ""), "0.0420"),
        (units.byte_size(19152), "18.7 KiB"),
        (units.byte_size(0), "0 B"),
        (units.count(10000), "10,000"),
        (units.in_unit(3.2e-3, "s"), "3.20 ms"),
        (units.in_unit(0.375, "share"), "38%"),
        (units.in_unit(64, ""), "64"),
    ],
)
def test_numbers_have_units(said: str, text: str) -> None:
    assert said == text


def test_a_figure_is_drawn_with_no_browser_in_the_colours_of_paper(tmp_path) -> None:
    spec = {
        "data": {"values": [{"name": "a", "y": 1}]},
        "mark": {"type": "bar", "color": "--tuned"},
        "encoding": {"y": {"field": "name", "type": "nominal"}, "x": {"field": "y", "type": "quantitative"}},
    }
    png, svg = vega.write(vega.Chart("bars", spec), tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    assert "#0072b2" in text and "--tuned" not in text and ">a<" in text
