"""`make bench-gpu` on the stand-in GPU: a run is kept, gone on with, and refuses what cannot be asked."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tuner.lab import bench_gpu, gpu_cases
from tuner.lab.comparison_data import add_run, read_data
from tuner.lab.gpu_cases import GpuSuite
from tuner.schedules.gemm.baselines import cublas
from tuner.store.store import open_store


@pytest.mark.parametrize(
    ("told", "why"),
    [(["--case-seconds", "0"], "seconds are a number above 0"),
     (["--processes", "none"], "a whole number from 1 up"),
     (["--dtype", "f8"], "invalid choice: 'f8'"),
     (["--only", "attention", "--dtype", "int8"], "no comparison is of attention and int8"),
     (["--kernel", "cuda_no_such"], "cuda_no_such"),
     (["--device", "cpu"], "--device cpu is no GPU"),
     (["--merge", "nothing.json"], "there is no such file")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said_in_a_line(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], told: list[str], why: str,
) -> None:  # fmt: skip
    places = ["--output", str(tmp_path), "--page", str(tmp_path / "p"), "--data", str(tmp_path / "d")]
    monkeypatch.setattr(sys, "argv", ["bench_gpu", *places, *told])
    try:
        code = bench_gpu.main()
    except SystemExit as ended:
        code = int(str(ended.code))
    said = capsys.readouterr().err.splitlines()
    assert code == 2 and why in said[-1] and not (tmp_path / "p").exists()


@pytest.mark.slow
def test_a_run_on_a_gpu_is_kept_and_gone_on_with(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    suites = (GpuSuite("gemm", "f32", "", ("24x20x16", "8x8x8")), GpuSuite("gemm", "int8", "", ("7x7x7",)))
    monkeypatch.setattr(gpu_cases, "SUITES", suites)
    monkeypatch.setattr(cublas, "_no_cublas", lambda: None)  # the stand-in has it
    page, data = tmp_path / "page.md", tmp_path / "data.json"

    def run(folder: str, *told: str) -> int:
        places = ["--output", str(tmp_path / folder), "--page", str(page), "--data", str(data)]
        known = ["--kernel", "cuda_shared_tiles", "--trials", "2"]
        monkeypatch.setattr(sys, "argv", ["bench_gpu", *places, *known, *told])
        return bench_gpu.main()

    # 7 x 7 x 7 of int8 is no case of cuBLAS: a final needs two.
    assert run("first", "--only", "gemm") == 1
    kept = json.loads((tmp_path / "first" / "bench-gpu.json").read_text())
    (device,) = kept
    rows = kept[device]["cases"]
    good = rows["gemm f32 24x20x16"]
    assert (good["ours"], good["best"], good["processes"]) == ("cuda_shared_tiles", "cublas", 3)
    assert good["ratio"][0] > 0 and good["flops"] == 2 * 24 * 20 * 16 and good["clock_hz"]
    assert rows["gemm int8 7x7x7"]["error"].startswith("no final was held, which needs two: ")
    said = page.read_text()
    assert "## Fake H100" in said and "3 processes a finalist" in said and "no final was held" in said
    with open_store(str(tmp_path / "first" / "bench-gpu.db"), read_only=True) as store:
        trials = store.count()
    capsys.readouterr()
    assert run("first", "--dtype", "f32") == 0
    with open_store(str(tmp_path / "first" / "bench-gpu.db"), read_only=True) as store:
        assert store.count() == trials and "gemm f32" not in capsys.readouterr().out
    # A fresh checkout with the data measures what is missing there.
    assert run("second", "--missing", "--dtype", "f32") == 0
    assert "0 of 0 comparisons" in capsys.readouterr().out
    add_run(found := read_data(data), kept[device])
    assert found == read_data(data)
