"""The commands as a user types them, on small shapes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tuner as library
from tests.in_process import run_here
from tuner import registry
from tuner.engine.program.load import NearestConfiguration
from tuner.engine.tuning import campaign

pytestmark = pytest.mark.usefixtures("calm")


def tuner(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments], capture_output=True, text=True, timeout=170,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def here(*arguments: str) -> str:
    done = run_here(*arguments, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory, calm):
    """A database with one small campaign, and the campaign's JSON.

    Of the libraries NumPy alone: each of the others is imported anew by ten processes of the final, torch for
    two seconds; that they take part is tested below.
    """
    db = tmp_path_factory.mktemp("swept") / "results.db"
    command = (
        "sweep gemm --shape 48x40x32 --kernel cpp_naive --kernel cpp_packed --kernel numpy --no-baselines"
    )
    out = tuner(
        *command.split(), "--searcher", "random", "--trials", "3", "--rounds", "6", "--db", str(db), "--json"
    )
    return str(db), json.loads(out)


def test_sweep_measures_every_kernel_and_holds_a_final(swept):
    _, outcome = swept
    assert {"cpp_naive", "cpp_packed", "numpy"} <= outcome["sweeps"].keys()
    assert outcome["sweeps"]["cpp_packed"]["trials"] == 3
    entries = {e["kernel"] for e in outcome["final"]["entries"]}
    assert {"cpp_naive", "cpp_packed", "numpy"} <= entries
    assert all(e["error"] is None for e in outcome["final"]["entries"])


@pytest.mark.parametrize(("more", "libraries"), [({}, True), ({"baselines": False}, False)])
def test_libraries_take_part_unless_they_are_left_out(more, libraries):
    device = campaign.default_device()
    workload = registry.operator("gemm").parse("48x40x32")
    protocol = campaign.default_protocol(device)
    chosen, _ = campaign.choose_kernels(workload, device, protocol, ["cpp_naive"], **more)
    # What lays weights out ahead is not among those that have to take others in every call.
    found = [k for k in registry.kernels_of("gemm", "cpu") if k.baseline and not k.only_frozen]
    able = [k.name for k in found if not k.unavailable()]
    assert "numpy" in able
    assert {k.name for k in chosen} == {"cpp_naive", *(able if libraries else [])}


def test_best_answers_from_the_database(swept):
    db, outcome = swept
    rows = json.loads(here("best", "gemm", "--shape", "48x40x32", "--db", db, "--json"))
    assert {"cpp_naive", "cpp_packed", "numpy"} <= {row["kernel"] for row in rows}
    packed = next(row for row in rows if row["kernel"] == "cpp_packed")
    # Beside other tests a final may be disturbed: then it declares nothing, and nothing is timed again.
    assert packed["evidence"] == "measured" and packed["retimed"] != bool(outcome["final"]["disturbed"])
    assert packed["config"]["MR"] >= 1
    low, mid, high = packed["interval_s"]
    assert 0 < low <= mid <= high
    table = here("best", "--db", db)
    assert "cpp_packed" in table and "gemm/f32/m48-n40-k32" in table


def test_best_of_what_was_not_measured_says_what_to_run_and_fails(swept):
    db, _ = swept
    asked = ("best", "gemm", "--shape", "7x7x7", "--dtype", "bf16", "--threads", "1", "--db", db)
    for more, out in ((), ""), (("--json",), "[]\n"):
        done = run_here(*asked, *more)
        assert (done.returncode, done.stdout) == (2, out)
        assert done.stderr == (
            "error: nothing stored of gemm/bf16/m7-n7-k7 with --threads 1; to measure it: tuner sweep gemm "
            "--shape '7x7x7' --dtype bf16 --threads 1\n"
        )
    done = run_here("best", "gemm", "--device", "no such", "--db", db)
    assert done.returncode == 2 and "nothing stored of gemm of a device no such; of " in done.stderr


def test_show_a_trial_and_a_sweep(swept):
    db, outcome = swept
    best = outcome["sweeps"]["cpp_packed"]["best"]
    trial = json.loads(here("show", f"t{best['trial']}", "--db", db, "--json"))
    assert trial["config"] == best["config"]
    assert trial["status"] == "ok" and len(trial["samples_s"]) >= 3
    sweep = json.loads(here("show", f"s{outcome['sweeps']['cpp_packed']['sweep']}", "--db", db, "--json"))
    assert sweep["trials"] == 3 and len(sweep["curve"]) == 3
    assert "cpp_packed" in here("show", f"s{sweep['sweep']}", "--db", db)


def test_show_a_campaign_prints_what_the_sweep_printed(swept):
    db, outcome = swept
    number = str(outcome["campaign"])
    assert json.loads(here("show", f"c{number}", "--db", db, "--json")) == outcome
    table = here("show", "--campaign", number, "--db", db)
    assert "Sweeps of gemm/f32/m48-n40-k32" in table and "Final: timed again" in table
    assert "c" + number in here("show", "--campaigns", "--db", db)


def test_load_gives_a_callable_for_the_exact_shape(swept, tmp_path, monkeypatch):
    db, _ = swept
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    gemm = library.load("gemm", m=48, n=40, k=32, db=db)
    assert gemm.exact and gemm.kernel in ("cpp_naive", "cpp_packed")
    rng = np.random.default_rng(0)
    a, b = rng.random((48, 32), dtype=np.float32), rng.random((32, 40), dtype=np.float32)
    assert np.allclose(gemm(a, b), a @ b, rtol=1e-5)
    out = np.full((48, 40), np.nan, np.float32)
    assert gemm(B=b, A=a, out=out) is out and np.allclose(out, a @ b, rtol=1e-5)
    # Not contiguous: copied, not misread.
    assert np.allclose(gemm(np.asfortranarray(a), b), a @ b, rtol=1e-5)
    with pytest.raises(ValueError, match=r"array A is float32\[32, 48\]"):
        gemm(a.T, b)
    with pytest.raises(ValueError, match="float64"):
        gemm(a.astype(np.float64), b)
    with pytest.raises(TypeError, match="needs array B"):
        gemm(a)


def test_load_takes_the_nearest_shape_and_says_so(swept, tmp_path, monkeypatch):
    db, _ = swept
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    with pytest.warns(NearestConfiguration, match="gemm/f32/m48-n40-k32"):
        gemm = library.load("gemm", m=51, n=33, k=70, db=db, kernel="cpp_packed")
    assert not gemm.exact and gemm.note
    rng = np.random.default_rng(0)
    a, b = rng.random((51, 70), dtype=np.float32), rng.random((70, 33), dtype=np.float32)
    assert np.allclose(gemm(a, b), a @ b, rtol=1e-5)


def test_load_builds_once(swept, tmp_path, monkeypatch):
    db, _ = swept
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    library.load("gemm", m=48, n=40, k=32, db=db)
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setattr("tuner.builders.host.cxx.CxxBuilder.build", None)
    assert library.load("gemm", m=48, n=40, k=32, db=db).exact


def test_load_without_anything_stored_says_what_to_run(swept):
    from tuner.core.errors import Unavailable

    with pytest.raises(Unavailable, match="tuner sweep gemm --shape"):
        library.load("gemm", m=4, n=4, k=4, kernel="tir_packed", db=swept[0])


def test_compare_writes_the_table_and_the_pictures(tmp_path):
    experiment = tmp_path / "small.toml"
    experiment.write_text(
        'operator = "gemm"\nshapes = ["32x32x32"]\nkernels = ["cpp_naive", "cpp_packed"]\n'
        'searcher = "random"\nbaselines = false\n'
        "[budget]\ntrials = 2\n[final]\nrounds = 6\n"
    )
    places = ("--db", str(tmp_path / "r.db"), "--output", str(tmp_path / "out"))
    arguments = ("compare", str(experiment), *places)
    table = tuner(*arguments)
    assert "cpp_packed" in table and "GFLOP/s" in table
    names = {p.name for p in (tmp_path / "out").rglob("*") if p.stat().st_size > 1000}
    assert {"comparison.png", "comparison.svg", "convergence.png", "convergence.svg"} <= names
    # Shown again from the store, nothing run: byte for byte.
    files = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    for path in files:
        path.unlink()
    assert tuner(*arguments, "--report-only") == table
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == files
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["campaign"] == 1


def test_kernels_and_devices_are_described(tmp_path):
    described = json.loads(here("kernels", "gemm", "--json"))
    packed = next(k for k in described["kernels"] if k["kernel"] == "cpp_packed")
    assert packed["valid"] > 1000 and packed["constraints"]
    shaped = here("kernels", "gemm", "--shape", "48x40x32")
    assert "gemm/f32/m48-n40-k32 on this machine (as asked)" in shaped
    assert max(map(len, shaped.split("\nnot here: ")[0].splitlines())) <= 116, "read on a terminal"
    found = json.loads(tuner("devices", "--json", "--db", str(tmp_path / "r.db")))
    cpu = next(d for d in found["devices"] if d["device"] == "cpu")
    assert cpu["here"] and cpu["facts"]["physical_cores"] >= 1
    assert any("peak_flops_f32" in name for name in cpu["measured"])


def test_help_is_short_and_has_examples():
    for command in ("sweep", "best", "show", "kernels", "devices", "compare"):
        assert "Examples:" in here(command, "--help")
