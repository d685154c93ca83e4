"""A sweep by MetaSchedule: stored like any, resumed after kill -9, served by load, exchanged as databases."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.processes import wait_until
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence
from tuner.engine.recorded.traces import export_traces, import_traces
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.compile_only import kernels_to_compile, run_compile_only
from tuner.interchange.metaschedule import read_database
from tuner.store.store import open_store

SHAPE = "48x64x32"
KEY = "gemm/f32/m48-n64-k32"


def command(db, *more):
    fixed = ["--shape", SHAPE, "--kernel", "tir_metaschedule", "--no-baselines", "--rounds", "6"]
    return [
        sys.executable,
        "-m",
        "tuner",
        "sweep",
        "gemm",
        *fixed,
        "--threads",
        "1",
        "--db",
        str(db),
        "--json",
        *more,
    ]


def count(db):
    if not db.exists():
        return 0
    with open_store(str(db), read_only=True) as store:
        return store.count()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of 16 trials that was killed on the way and resumed: (database, outcome)."""
    db = tmp_path_factory.mktemp("swept") / "results.db"
    process = subprocess.Popen(
        command(db, "--trials", "16"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: count(db) >= 3, 120, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command(db, "--trials", "16", "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return db, json.loads(done.stdout)


def test_every_candidate_is_a_trial_and_a_killed_sweep_goes_on(swept):
    db, outcome = swept
    with open_store(str(db), read_only=True) as store:
        (sweep,) = store.sweeps()
        trials = store.sweep_history(sweep.id)
    assert (sweep.spec.searcher, sweep.status, sweep.trials) == ("metaschedule", "finished", 16)
    assert len({t.key.digest for t in trials}) == 16
    assert all(set(t.key.config) == {"trace"} for t in trials)
    right = [t for t in trials if t.measurement.ok]
    assert right and all(t.measurement.max_error is not None for t in right)
    assert outcome["sweeps"]["tir_metaschedule"]["best"]["trial"] in {t.id for t in right}


def test_load_serves_the_winner_in_a_fresh_process_and_no_other_shape(swept, tmp_path):
    db, outcome = swept
    best = outcome["sweeps"]["tir_metaschedule"]["best"]["trial"]
    code = f"""
import numpy as np, tuner
from tuner.core.errors import TunerError
kernel = tuner.load("gemm", m=48, n=64, k=32, db={str(db)!r})
a, b = np.random.rand(48, 32).astype("f"), np.random.rand(32, 64).astype("f")
assert np.allclose(kernel(a, b), a @ b, rtol=1e-5)
print(kernel.kernel, kernel.exact)
try:
    tuner.load("gemm", m=48, n=64, k=33, db={str(db)!r})
except TunerError as error:
    print(error)
"""
    environment = {**os.environ, "TUNER_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "tir_metaschedule True"
    assert "nothing stored of any kernel" in second
    assert best


def test_its_best_is_measured_on_another_machine_without_a_search(swept, tmp_path):
    db, _ = swept
    asked = [sys.executable, "-m", "tuner", "best", "gemm", "--db", str(db), "--json"]
    bests, there = tmp_path / "bests.json", tmp_path / "there.db"
    bests.write_text(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    done = subprocess.run(command(there, "--configs", str(bests)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(bests.read_text())
    (named,) = json.loads(done.stdout)["sweeps"]["tir_metaschedule"]["named"]
    assert (named["status"], named["config"]) == ("ok", row["config"])
    with open_store(str(there), read_only=True) as store:
        assert [(s.spec.searcher, s.trials) for s in store.sweeps()] == [("given", 1)]


def test_a_database_of_ours_is_opened_by_metaschedule_and_read_back(swept, tmp_path):
    db, _ = swept
    folder = tmp_path / "database"
    with open_store(str(db), read_only=True) as store:
        written, _ = export_traces(store, folder, KEY)
        ours = {str(t.key.config["trace"]): t for t in store.sweep_history(1)}
    assert written == 16
    _metaschedule_finds(folder, registry.kernel("tir_metaschedule"))
    records = read_database(folder)
    assert {r.trace for r in records} == set(ours)
    for record in records:
        assert record.samples == ours[record.trace].measurement.samples
    with open_store(str(tmp_path / "other.db")) as store:
        (found,) = import_traces(store, records)
        assert (found.workload.key, found.kernel, found.added, found.known) == (
            KEY,
            "tir_metaschedule",
            16,
            0,
        )
        assert import_traces(store, records)[0].known == 16
        stored = store.sweep_history(found.sweep)
        assert {t.measurement.evidence for t in stored} == {Evidence.REPLAYED}
        assert store.best() == []  # what others timed is no measurement of this machine
        (replayed,) = store.best(evidence=["replayed"])
    assert replayed.time_s == min(
        t.measurement.interval.mid for t in ours.values() if t.measurement.interval is not None
        and t.measurement.samples
    )  # fmt: skip


def test_the_best_alone_is_a_database_of_one_record(swept, tmp_path):
    db, _ = swept
    with open_store(str(db), read_only=True) as store:
        written, _ = export_traces(store, tmp_path / "database", KEY, best=True)
        right = [t for t in store.sweep_history(1) if t.measurement.ok]
    fastest = min(right, key=lambda t: t.measurement.time_s)
    assert written == 1
    (record,) = read_database(tmp_path / "database")
    assert record.trace == fastest.key.config["trace"]
    _metaschedule_finds(tmp_path / "database", registry.kernel("tir_metaschedule"))


def _metaschedule_finds(folder, kernel):
    import tvm
    import tvm.script.parser
    from tvm.s_tir import meta_schedule as ms

    space = kernel.space(registry.operator("gemm").parse(SHAPE), campaign.default_device().target)
    module = tvm.script.from_source(space.program)
    database = ms.database.JSONDatabase(work_dir=str(folder))
    schedule = database.query_schedule(module, tvm.target.Target(dict(space.target)), "main")
    assert schedule is not None and len(schedule.trace.insts) > 3


def test_a_program_of_somebody_else_is_kept_apart(swept, tmp_path):
    from dataclasses import replace

    db, _ = swept
    with open_store(str(db), read_only=True) as store:
        export_traces(store, tmp_path / "database", KEY)
    records = [replace(r, program="-123") for r in read_database(tmp_path / "database")]
    with open_store(str(tmp_path / "other.db")) as store:
        (found,) = import_traces(store, records)
        assert (found.workload.key, found.kernel) == ("tvm_123/float32/x48-y64", None)
        assert len(store.sweep_history(found.sweep)) == 16


def test_searchers_and_kernels_that_do_not_go_together_are_refused_before_anything_runs(tmp_path):
    device = campaign.default_device()
    protocol = campaign.default_protocol(device)
    workload = registry.operator("gemm").parse(SHAPE)
    for kernel, searcher in (("tir_metaschedule", "grid"), ("cpp_packed", "metaschedule")):
        chosen, _ = campaign.choose_kernels(workload, device, protocol, [kernel], baselines=False)
        with open_store(str(tmp_path / "none.db")) as store:
            with pytest.raises(TunerError, match=kernel):
                campaign.run_campaign(
                    workload, chosen, campaign.Setting(device, protocol, campaign.Plan(searcher), store)
                )
            assert store.sweeps() == []
    chosen, skipped = campaign.choose_kernels(workload, device, protocol)
    assert "tir_metaschedule" not in {k.name for k in chosen} | set(skipped)


@pytest.mark.slow
def test_a_compile_only_sweep_for_a_gpu(tmp_path):
    from tuner.core.protocol import Protocol
    from tuner.engine.candidate.described import DescribedDevice
    from tuner.targets import cuda

    kernel = registry.kernel("tir_metaschedule_cuda")
    if reason := registry.no_builder(kernel, kernel.target_kinds[0]):
        pytest.skip(reason)
    device = DescribedDevice(cuda.target("sm_80"), cuda.board("sm_80"))
    workload = registry.operator("gemm").parse("64x64x64")
    chosen, skipped = kernels_to_compile(workload, device, [kernel.name])
    plan = campaign.Plan("auto", 1, Budget(trials=8))
    with open_store(str(tmp_path / "gpu.db")) as store:
        setting = campaign.Setting(device, Protocol(threads=1), plan, store)
        outcome = run_compile_only(workload, chosen, setting, skipped, 2)
    result = outcome.sweeps[kernel.name]
    predicted = [t for t in result.trials if t.measurement.ok]
    assert len(result.trials) == 8 and predicted
    assert {t.measurement.evidence for t in predicted} == {Evidence.PREDICTED}
