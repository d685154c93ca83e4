"""From the store to table, JSON and pictures, as `tuner compare` asks for them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.report.comparison import gather
from tuner.report.present import present
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store

DEVICE = DeviceInfo("cpu-1", "EPYC", "cpu", "cpu:avx2")
PROTOCOL = Protocol(threads=2)


@dataclass
class Outcome:
    """What `tuner.engine.tuning.campaign.Outcome` offers."""

    workload: Workload
    sweeps: dict[str, Any]
    final_id: int | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    ranking: Any = None
    device: DeviceInfo = DEVICE
    protocol: Protocol = PROTOCOL
    limits: dict[str, float] = field(
        default_factory=lambda: {"peak_flops_f32": 100e9, "bandwidth_bytes_per_s": 10e9}
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db") as opened:
        yield opened


def sweep(store: Store, workload: Workload, name: str, times: list[float | None]) -> tuple[Any, list[int]]:
    kernel = KernelInfo(name, "source", "cxx", workload.operator)
    number = store.begin_sweep(SweepSpec(workload, DEVICE, kernel, "cpu:avx2", "random", 0, PROTOCOL))
    trials = []
    for i, t in enumerate(times):
        key = TrialKey(workload, name, "source", {"MC": i}, "cpu:avx2", "tool", "cpu-1", PROTOCOL.digest)
        outcome = (Measurement(Status.OK, Evidence.MEASURED, (t,)) if t
                   else Measurement(Status.CRASH, Evidence.MEASURED, error="died of signal 11"))  # fmt: skip
        trials.append(Trial(key, outcome))
    ids = store.add_trials(number, trials)
    store.finish_sweep(number)
    return SimpleNamespace(sweep_id=number), ids


def outcome(store: Store, shape: str = "64x64x64", final: bool = True) -> Outcome:
    workload = registry.operator("gemm").parse(shape)
    packed, packed_ids = sweep(store, workload, "cpp_packed", [None, 2e-5, 1e-5])
    naive, naive_ids = sweep(store, workload, "cpp_naive", [3e-4])
    library, library_ids = sweep(store, workload, "numpy", [2e-5])
    broken, _ = sweep(store, workload, "cpp_broken", [None, None])
    sweeps = {"cpp_packed": packed, "cpp_naive": naive, "numpy": library, "cpp_broken": broken}
    if not final:
        return Outcome(workload, sweeps)

    def samples(seconds: float) -> Turns:
        return Turns(tuple(seconds * (1 + i / 1000) for i in range(9)))

    entries = [
        FinalEntry(packed_ids[1], "candidate", samples(2.2e-5)),
        FinalEntry(packed_ids[2], "candidate", samples(1e-5)),
        FinalEntry(naive_ids[0], "candidate", samples(4e-4)),
        FinalEntry(library_ids[0], "baseline", samples(2e-5)),
    ]
    number = store.record_final(Final(workload, "cpu-1", PROTOCOL, entries, library_ids[0]))
    return Outcome(workload, sweeps, number, {"torch": "torch is not installed"})


def test_a_final_becomes_one_row_a_kernel(store: Store) -> None:
    found = gather("Title", outcome(store), store)
    assert [(r.kernel, r.trials, r.is_baseline) for r in found.rows] == [
        ("cpp_packed", 3, False), ("numpy", 1, True), ("cpp_naive", 1, False),
    ]  # fmt: skip
    best = found.rows[0]
    assert best.config == {"MC": 2}
    assert best.speedup_library is not None and best.speedup_naive is not None
    assert best.speedup_library.mid == pytest.approx(2.0)
    assert best.speedup_naive.mid == pytest.approx(40.0)
    assert best.is_winner
    assert best.gflops == pytest.approx(2 * 64**3 / 1.004e-5 / 1e9)
    assert best.share_of_peak == pytest.approx(best.gflops / 100)


def test_what_is_not_in_the_table_is_said_with_the_reason(store: Store) -> None:
    ended = outcome(store)
    finalist = SimpleNamespace(label="cpp_broken")
    ended.ranking = SimpleNamespace(entries=[SimpleNamespace(finalist=finalist, error="wrong\nmore")])
    notes = list(gather("Title", ended, store).notes)
    assert "left out: torch: torch is not installed" in notes
    assert "left out: cpp_broken: wrong (crash: 2)" in notes


def test_curves_and_references_are_of_the_sweeps(store: Store) -> None:
    found = gather("Title", outcome(store), store)
    assert [(c.label, [p.best_s for p in c.points]) for c in found.curves] == [
        ("cpp_packed", [None, 2e-5, 1e-5]), ("cpp_broken", [None, None]),
    ]  # fmt: skip
    # Not the final's 4e-4: that was taken at another hour.
    assert dict(found.references) == {"cpp_naive": 3e-4, "numpy": 2e-5}


def test_without_a_final_there_are_times_and_no_claims(store: Store) -> None:
    found = gather("Title", outcome(store, final=False), store)
    assert [r.kernel for r in found.rows] == ["cpp_packed", "numpy", "cpp_naive"]
    assert [r.is_baseline for r in found.rows] == [False, True, False]
    assert all(r.speedup_naive is None and not r.is_winner for r in found.rows)
    assert any("no final was held" in note for note in found.notes)


def test_faster_than_the_peak_is_doubted(store: Store) -> None:
    ended = outcome(store)
    ended.limits["peak_flops_f32"] = 1e9
    assert any("faster than the measured peak" in note for note in gather("Title", ended, store).notes)


def test_present_prints_a_table_and_writes_files(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = SimpleNamespace(title="My experiment", output=str(tmp_path / "out"))
    present(experiment, [outcome(store)], store)
    printed = capsys.readouterr().out
    for word in ("My experiment", "cpp_packed", "numpy (library)", "left out: torch", "comparison.png"):
        assert word in printed, word
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"comparison.json"} | {
        f"{kind}.{ending}" for kind in ("comparison", "convergence", "roofline") for ending in ("png", "svg")
    }
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["rows"][0]["kernel"] == "cpp_packed"


def test_present_as_json_prints_one_document(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = SimpleNamespace(title="T", output="unused")
    results = [outcome(store), outcome(store, "32x32x32", final=False)]
    present(experiment, results, store, tmp_path / "there", json=True)
    documents = json.loads(capsys.readouterr().out)
    assert [d["workload"] for d in documents] == ["gemm/f32/m64-n64-k64", "gemm/f32/m32-n32-k32"]
    assert all(Path(p).exists() for d in documents for p in d["pictures"])
    # Each shape has pictures of its own.
    assert len({p for d in documents for p in d["pictures"]}) == sum(len(d["pictures"]) for d in documents)


def test_nothing_timed_is_said_and_draws_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = registry.operator("gemm").parse("8x8x8")
    broken, _ = sweep(store, workload, "cpp_broken", [None])
    experiment = SimpleNamespace(title="T", output=str(tmp_path / "o"))
    present(experiment, [Outcome(workload, {"cpp_broken": broken})], store)
    assert "nothing was timed" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["comparison.json"]


def test_a_disturbed_final_is_said_everywhere_and_declares_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = outcome(store)
    assert ended.final_id is not None
    told = store.final(ended.final_id)
    entries = [replace(e, winner=False, tie=False, speedup=None) for e in told.entries]
    ended.final_id = store.record_final(
        replace(told, entries=entries, baseline=None, disturbed="another program had the cores")
    )
    found = gather("Title", ended, store)
    assert found.rows and not any(r.is_winner or r.is_tie or r.speedup_library for r in found.rows)
    experiment = SimpleNamespace(title="My experiment", output=str(tmp_path / "out"))
    present(experiment, [ended], store)
    printed = capsys.readouterr().out
    assert "declares nothing: another program had the cores" in printed and "is the fastest" not in printed
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["disturbed"] == "another program had the cores"
    for picture in ("comparison", "convergence", "roofline"):
        assert "nothing is declared" in (tmp_path / "out" / f"{picture}.svg").read_text(), picture


def test_more_than_the_peak_is_remarked_in_table_picture_and_json(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = outcome(store)
    ended.limits["peak_flops_f32"] = 1e9
    experiment = SimpleNamespace(title="My experiment", output=str(tmp_path / "out"))
    present(experiment, [ended], store)
    assert "cannot be" in capsys.readouterr().out
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert any(row["remark"] for row in document["rows"])
    assert all(bool(row["remark"]) == (row["share_of_peak"] > 1.05) for row in document["rows"])
    assert "cannot be" in (tmp_path / "out" / "comparison.svg").read_text()
    assert "above the measured peak" in (tmp_path / "out" / "roofline.svg").read_text()
