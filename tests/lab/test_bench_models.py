"""`bench_models` says of each model what was compared, and sums up what was timed."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.model.graphs import convolutional
from tuner.lab import bench_models
from tuner.lab.bench_models import ModelRow, one_each, row_of, summary


def compared(name: str = "tuned kernels", **changed: Any) -> dict[str, Any]:
    """What `tuner model compare --json` says of one batch, as far as it is read."""
    theirs = [
        {"name": n, "latency_s": s, "speedup_over_best_onnxruntime": None, "note": ""}
        for n, s in (("onnxruntime", 0.05), ("onnxruntime bound", 0.04), ("openvino", 0.001))
    ]
    mine: dict[str, Any] = {"name": name, "latency_s": 0.02, "note": "9 layers"}
    mine |= {"speedup_over_best_onnxruntime": [1.9, 2, 2.1]}
    return {"timed": [*theirs, mine], "wrong": {}, "missing": {}, "disturbed": None, **changed}


def test_a_row_is_the_fastest_of_onnx_runtimes_settings_beside_the_kernels() -> None:
    row = row_of("m", compared())
    assert (row.ours_s, row.runtime_s, row.ratio) == (0.02, 0.04, (1.9, 2, 2.1))
    assert " ".join(row.line().split()) == "m 20 ms 40 ms 2.00x [1.90, 2.10] 9 layers"
    assert "disturbed: 20% taken" in row_of("m", compared(disturbed="20% taken")).note


def test_who_was_not_timed_is_said_and_not_averaged() -> None:
    absent = row_of("a", compared("openvino", missing={"tuned kernels": "no kernel is tuned for a.onnx"}))
    wrong = row_of("w", compared("openvino", wrong={"tuned kernels": 7.0}))
    assert absent.note == "no kernel is tuned for a.onnx" and wrong.note == "its outputs are wrong"
    rows = [ModelRow("x", 1, 2, (1, 2.0, 3)), ModelRow("y", 1, 2, (0.4, 0.5, 0.6)), absent]
    assert summary(rows) == "geometric mean of 2: 1.00x, least 0.50x; 1 not timed"
    assert summary([absent]) == "no model was timed" and math.isnan(absent.ratio[1])


def test_symbolic_batches_are_one(tmp_path: Path) -> None:
    assert one_each(convolutional(tmp_path / "m.onnx", "N")) == {"N": 1}
    assert one_each(convolutional(tmp_path / "n.onnx")) == {}


def test_what_a_command_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench_models.main(["no_such_model", "--db", str(tmp_path / "m.db")])
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: no model 'no_such_model'")


def test_each_model_is_tuned_and_compared_in_one_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []

    def told(*arguments: str, may_fail: bool = False) -> str:
        asked.append(arguments)
        return json.dumps([compared()])

    monkeypatch.setattr(bench_models, "_tuner", told)
    path, database = convolutional(tmp_path / "m.onnx", "N"), str(tmp_path / "m.db")
    with pytest.raises(SystemExit) as ended:
        bench_models.main([str(path), "--db", database, "--minutes", "2", "--threads", "1"])
    common = (str(path), "--dim=N=1", "--db", database, "--threads", "1")
    assert asked == [
        ("model", "tune", *common, "--minutes", "2.0"),
        ("model", "compare", *common, "--rounds", "15", "--json")
    ]  # fmt: skip
    assert not ended.value.code and "geometric mean of 1: 2.00x" in capsys.readouterr().out
