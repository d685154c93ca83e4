"""`tuner sweep --config` and `--configs`, as a user types them: measured, shown, killed, gone on with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import run_here
from tests.processes import wait_until
from tuner.store.store import open_store

pytestmark = pytest.mark.usefixtures("calm")

VALUES = (4, 8, 16, 32, 64)


def command(db: Path, *more: str) -> list[str]:
    fixed = ["sweep", "gemm", "--shape", "64x48x40", "--no-baselines", "--threads", "1", "--db", str(db)]
    return [sys.executable, "-m", "tuner", *fixed, *more]


def finished(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def measured(db: Path, sweep: int) -> list[int]:
    with open_store(str(db), read_only=True) as store:
        assert store.sweep(sweep).status == "finished"
        return [int(trial.key.config["TILE_M"]) for trial in store.sweep_history(sweep)]


def test_killed_half_way_it_goes_on_with_the_rest(tmp_path: Path) -> None:
    db = tmp_path / "r.db"
    named = [word for value in VALUES for word in ("--config", f"TILE_M={value}")]
    whole = command(db, "--kernel", "cpp_tiled", *named, "--rounds", "0", "--json")

    def stored() -> int:
        if not db.exists():
            return 0
        with open_store(str(db), read_only=True) as store:
            return store.count()

    process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    wait_until(lambda: stored() >= 1, 120, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = stored()
    out = json.loads(finished(*whole, "--resume").stdout)
    assert out["sweeps"]["cpp_tiled"]["sweep"] == 1 and out["campaign"] == 1 and 1 <= kept <= len(VALUES)
    assert [each["config"]["TILE_M"] for each in out["sweeps"]["cpp_tiled"]["named"]] == list(VALUES)
    assert measured(db, 1) == list(VALUES) and stored() == len(VALUES)


def test_bests_of_one_machine_are_measured_on_another(tmp_path: Path) -> None:
    """Two databases stand for two machines. A library's best and those of other shapes are left out."""
    there, here = tmp_path / "there.db", tmp_path / "here.db"
    named = ("--config", "cpp_tiled:TILE_M=8,TILE_N=64", "--config", "cpp_naive:")
    finished(*command(there, *named, "--rounds", "0"))
    bests = json.loads(run_here("best", "gemm", "--db", str(there), "--json").stdout)
    assert [row["config"]["TILE_M"] for row in bests if row["kernel"] == "cpp_tiled"] == [8]
    file = tmp_path / "bests.json"
    other = {**bests[0], "workload": "gemm/f32/m8-n8-k8"}
    file.write_text(json.dumps([*bests, other, {**bests[0], "kernel": "numpy", "config": {}}]))
    done = finished(*command(here, "--configs", str(file), "--rounds", "0"))
    assert "1 of gemm/f32/m8-n8-k8" in done.stderr and "1 of numpy, which is a library" in done.stderr
    lines = done.stdout.splitlines()
    (row,) = [
        line for line in lines if "cpp_tiled" in line and "TILE_M=8 TILE_N=64" in line and " ok " in line
    ]
    assert row.split()[0] == "cpp_tiled" and "Configurations that were named" in done.stdout
    with open_store(str(here), read_only=True) as store:
        assert {(s.spec.kernel.name, s.spec.searcher, s.trials) for s in store.sweeps()} == {
            ("cpp_tiled", "given", 1), ("cpp_naive", "given", 1),
        }  # fmt: skip


def test_with_trials_the_search_goes_on_from_them(tmp_path: Path) -> None:
    db, file = tmp_path / "r.db", tmp_path / "named.jsonl"
    file.write_text('{"TILE_M": 16}\n{"TILE_M": 32, "TILE_K": 8}\n')
    more = ("--kernel", "cpp_tiled", "--searcher", "random", "--trials", "4", "--rounds", "0")
    done = finished(*command(db, "--configs", str(file), *more))
    assert "starts from the 2 configurations that were named" in done.stderr
    found = measured(db, 1)
    assert found[:2] == [16, 32] and len(found) == 4
    assert "Configurations that were named" not in done.stdout
