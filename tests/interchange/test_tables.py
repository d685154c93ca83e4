"""Trials as tables: every format holds every trial, failures included, with a column a parameter."""

import csv
import json
import sys

import pytest

from tests.devices.test_replay import recorded
from tuner.core.errors import MissingExtra, UnknownName
from tuner.interchange.tables import write_table
from tuner.interchange.trials import to_trials


def test_csv_and_json_hold_every_trial(tmp_path):
    trials = to_trials(recorded())
    write_table(trials, tmp_path / "a.json", "json")
    write_table(trials, tmp_path / "a.csv", "csv")
    listed = json.loads((tmp_path / "a.json").read_text())
    with (tmp_path / "a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(listed) == len(table) == 10
    assert [r["config"]["x"] for r in listed] == [int(r["config.x"]) for r in table]
    assert [r["status"] for r in listed] == [r["status"] for r in table]
    assert sum(r["time_s"] is None for r in listed) == sum(r["time_s"] == "" for r in table) == 2


def test_parquet_keeps_types_and_absent_times(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` (pyarrow) is not installed")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    write_table(to_trials(recorded()), path, "parquet")
    table = parquet.read_table(path)
    assert table.num_rows == 10
    assert table.schema.field("config.x").type == pyarrow.int64()
    assert table.schema.field("config.kind").type == pyarrow.string()
    assert table.schema.field("config.pad").type == pyarrow.bool_()
    assert table.schema.field("time_s").type == pyarrow.float64()
    rows = table.to_pylist()
    assert [r["config.x"] for r in rows] == [t.config["x"] for t in recorded().trials]
    assert [r["time_s"] is None for r in rows] == [t.objective_s is None for t in recorded().trials]
    assert {r["evidence"] for r in rows} == {"replayed"}


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="parquet"):
        write_table(to_trials(recorded()), tmp_path / "a.parquet", "parquet")
    assert not (tmp_path / "a.parquet").exists()
    with pytest.raises(UnknownName, match="orc"):
        write_table(to_trials(recorded()), tmp_path / "a.orc", "orc")
