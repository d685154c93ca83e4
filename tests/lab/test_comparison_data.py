"""Rows of many machines in one file: what a run adds, what it replaces, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import TunerError
from tuner.core.places import ROOT
from tuner.lab import bench_vendor, vendor_page
from tuner.lab.comparison_data import add_run, read_data, write_data
from tuner.lab.comparison_page import body
from tuner.lab.vendor_cases import cases

DOCUMENTS = ROOT / "docs"
CASE = cases([2])[0]


def row(date: str, ours_s: float | None, **more: Any) -> dict[str, Any]:
    return {
        "operator": CASE.operator, "shape": CASE.shape, "dtype": CASE.dtype, "threads": 2, "date": date,
        "trials": 24, "ours": "cpp_packed", "ours_s": ours_s, "best": "mkl", "ratio": [0.9, 1.1, 1.2],
        "libraries": {}, "compute_s": 0.01, "levels_s": {"L1": 5e-3, "memory": 0.0}, **more,
    }  # fmt: skip


def run(date: str, library: str = "mkl 1", model: str = "CPU A", **rows: Any) -> dict[str, Any]:
    about = {"model": model, "date": date, "cores": 2, "arch": "avx512", "libraries": [library], "speeds": {}}
    return {"about": about, "cases": rows}


def test_a_later_run_adds_its_rows_and_replaces_what_it_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cpu.json"
    data: dict[str, Any] = {}
    assert add_run(data, run("2026-01-01", a=row("2026-01-01", 0.02), b=row("2026-01-01", 0.03))) == "CPU A"
    add_run(data, run("2026-01-01", model="CPU B", a=row("2026-01-01", 0.5)))
    again = row("2026-01-05", 0.01, trials=12)
    add_run(data, run("2026-01-05", "mkl 2", b=again, c=row("2026-01-05", 0.04)))
    write_data(path, data)
    found = read_data(path)
    assert found == data and list(found) == ["CPU A", "CPU B"]
    first = found["CPU A"]
    assert first["cases"]["a"]["date"] == "2026-01-01" and first["cases"]["b"] == again
    assert list(first["cases"]) == ["a", "b", "c"] and found["CPU B"]["cases"]["a"]["ours_s"] == 0.5
    # What some row was compared with is said of the section.
    assert first["about"]["date"] == "2026-01-05" and first["about"]["libraries"] == ["mkl 1", "mkl 2"]
    said = body(first, vendor_page.LAYOUT)
    assert "3 comparisons, the last of 2026-01-05 (1 of 2026-01-01, 2 of 2026-01-05)" in said
    assert "at most 12 or 24 trials a kernel" in said


def test_neither_a_failure_nor_an_older_file_takes_a_time_away() -> None:
    data: dict[str, Any] = {}
    failed = row("2026-01-09", None, error="disturbed: others")
    add_run(data, run("2026-01-09", a=failed, b=failed))
    add_run(data, run("2026-01-05", a=row("2026-01-05", 0.02)))
    add_run(data, run("2026-01-10", a=failed))
    add_run(data, run("2026-01-01", a=row("2026-01-01", 0.09)))
    found = data["CPU A"]
    assert found["cases"]["a"]["ours_s"] == 0.02 and "disturbed" in found["cases"]["b"]["error"]
    assert found["about"]["date"] == "2026-01-10"


def test_two_machines_rows_merge_line_by_line(tmp_path: Path) -> None:
    data: dict[str, Any] = {}
    add_run(data, run("2026-01-01", a=row("2026-01-01", 0.02), b=row("2026-01-01", 0.03)))
    write_data(tmp_path / "one.json", data)
    before = (tmp_path / "one.json").read_text().splitlines()
    add_run(data, run("2026-01-01", c=row("2026-01-01", 0.04)))
    write_data(tmp_path / "one.json", data)
    added = [line for line in (tmp_path / "one.json").read_text().splitlines() if line not in before]
    assert len([line for line in added if '"ours_s": 0.04' in line]) == 1 and len(added) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [("[1]", "no table"), ("{", "Expecting"), ('{"CPU A": {"cases": {}}}', "`about` and `cases`"),
     ('{"CPU A": {"about": {"model": "A"}, "cases": {}}}', "a `date`"),
     (json.dumps({"A": run("2026-01-01", a=row("2026-01-01", -1.0))}), "ours_s is a number"),
     (json.dumps({"A": run("2026-01-01", a=row("2026-01-01", 1.0, ratio=[0, 1, 2]))}), "above 0"),
     (json.dumps({"A": run("2026-01-01", a=row("2026-01-01", 1.0, levels_s={"L1": "x"}))}), "levels_s"),
     (json.dumps({"A": run("2026-01-01", a=row("2026-01-01", 1.0, threads=None))}), "threads is a number")],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(TunerError, match="is no file of comparisons") as told:
        read_data(path, ("threads",))
    assert why in str(told.value) and "\n" not in str(told.value)


def merged(monkeypatch: pytest.MonkeyPatch, folder: Path, *files: Path) -> int:
    told = ["--data", str(folder / "data.json"), "--page", str(folder / "page.md")]
    told += [part for file in files for part in ("--merge", str(file))]
    monkeypatch.setattr(sys, "argv", ["bench_vendor", *told])
    return bench_vendor.main()


def test_what_another_machine_measured_is_merged_into_data_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What a bench keeps is by devices' fingerprints, data by sections: both are taken.
    kept, data = tmp_path / "bench-vendor.json", tmp_path / "other.json"
    kept.write_text(json.dumps({"cpu-1": run("2026-01-01", a=row("2026-01-01", 0.02))}))
    data.write_text(json.dumps({"CPU B": run("2026-01-02", model="CPU B", a=row("2026-01-02", 0.03))}))
    assert merged(monkeypatch, tmp_path, kept, data) == 0
    assert "2 rows of 2 runs" in capsys.readouterr().out
    assert list(read_data(tmp_path / "data.json")) == ["CPU A", "CPU B"]
    page = (tmp_path / "page.md").read_text()
    assert "## CPU A" in page and "## CPU B" in page and "20.0 ms" in page and "30.0 ms" in page
    assert merged(monkeypatch, tmp_path, tmp_path / "nothing.json") == 2
    assert "no such file" in capsys.readouterr().err


def test_the_page_of_cpus_says_what_the_data_has() -> None:
    """The page is written, not edited: who merges two branches writes it anew, with `--merge` of the data."""
    data = read_data(DOCUMENTS / "data" / "cpu-performance.json", ("threads",))
    page = (DOCUMENTS / "cpu-performance.md").read_text()
    assert page.startswith(vendor_page.HEAD) and page.count("\n## ") == len(data)
    for name, found in data.items():
        assert f"## {name}\n\n{body(found, vendor_page.LAYOUT)}" in page
