"""From the store to table, JSON and pictures, as `tuner compare` asks for them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.report.comparison import Comparison, gather
from tuner.report.present import present
from tuner.store.campaign_records import (
    CampaignKernel,
    CampaignLayer,
    CampaignPart,
    CampaignSpec,
    Exclusion,
    StoredCampaign,
)
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store

DEVICE = DeviceInfo("cpu-1", "EPYC", "cpu", "cpu:avx2")
PROTOCOL = Protocol(threads=2)


@dataclass
class Ended:
    """A campaign of one workload as it is about to be stored; `stored` stores it."""

    workload: Workload
    kernels: list[CampaignKernel]
    final_id: int | None = None
    exclusions: list[Exclusion] = field(default_factory=list)
    limits: dict[str, float] = field(
        default_factory=lambda: {"peak_flops_f32": 100e9, "bandwidth_bytes_per_s": 10e9}
    )
    peaks_disturbed: bool = False
    status: str = "finished"

    def part(self, number: int) -> CampaignPart:
        return CampaignPart(
            number, self.workload, self.status, self.kernels, self.exclusions, self.final_id, self.limits,  # type: ignore[arg-type]
            self.peaks_disturbed,
        )  # fmt: skip


def stored(store: Store, *ended: Ended, title: str = "My experiment", **changes: Any) -> StoredCampaign:
    workloads = [each.workload for each in ended]
    spec = CampaignSpec("comparison", title, DEVICE, "cpu:avx2", PROTOCOL, workloads)
    number = store.begin_campaign(replace(spec, **changes))
    for i, each in enumerate(ended):
        store.begin_part(number, i, each.kernels)
        store.finish_part(number, each.part(i))
    store.finish_campaign(number, "finished" if all(e.status == "finished" for e in ended) else "interrupted")
    return store.campaign(number)


def found_of(store: Store, ended: Ended) -> Comparison:
    campaign = stored(store, ended)
    return gather(campaign, campaign.parts[0], store)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db") as opened:
        yield opened


def sweep(
    store: Store, workload: Workload, name: str, times: list[float | None]
) -> tuple[CampaignKernel, list[int]]:
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
    right = [(t, i) for t, i in zip(times, ids, strict=True) if t]
    statuses = {
        status: count for status, count in (("ok", len(right)), ("crash", len(ids) - len(right))) if count
    }
    record = CampaignKernel(
        name, "source", "cxx", name == "numpy", "random", sweep_id=number, trials=len(ids),
        best_id=min(right)[1] if right else None, summary={"statuses": statuses},
    )  # fmt: skip
    return record, ids


def outcome(store: Store, shape: str = "64x64x64", final: bool = True) -> Ended:
    workload = registry.operator("gemm").parse(shape)
    packed, packed_ids = sweep(store, workload, "cpp_packed", [None, 2e-5, 1e-5])
    naive, naive_ids = sweep(store, workload, "cpp_naive", [3e-4])
    library, library_ids = sweep(store, workload, "numpy", [2e-5])
    broken, _ = sweep(store, workload, "cpp_broken", [None, None])
    kernels = [packed, naive, library, broken]
    if not final:
        return Ended(workload, kernels)

    def samples(seconds: float) -> Turns:
        return Turns(tuple(seconds * (1 + i / 1000) for i in range(9)))

    entries = [
        FinalEntry(packed_ids[1], "candidate", samples(2.2e-5)),
        FinalEntry(packed_ids[2], "candidate", samples(1e-5)),
        FinalEntry(naive_ids[0], "candidate", samples(4e-4)),
        FinalEntry(library_ids[0], "baseline", samples(2e-5)),
    ]
    number = store.record_final(Final(workload, "cpu-1", PROTOCOL, entries, library_ids[0]))
    return Ended(workload, [*kernels, CampaignKernel("torch", skipped="torch is not installed")], number)


def test_a_final_becomes_one_row_a_kernel(store: Store) -> None:
    found = found_of(store, outcome(store))
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
    trial = store.sweep_history(ended.kernels[3].sweep_id or 0)[0].id
    ended.exclusions.append(Exclusion(trial or 0, "cpp_broken", "final", "wrong\nmore"))
    ended.kernels.append(
        CampaignKernel("slow", "s", given_up="3.0 times slower than the best", given_up_at=8)
    )
    notes = list(found_of(store, ended).notes)
    assert "left out: torch: torch is not installed" in notes
    assert "left out: cpp_broken: wrong (crash: 2)" in notes
    assert "given up: slow: after 8 trials, 3.0 times slower than the best" in notes


def test_curves_and_references_are_of_the_sweeps(store: Store) -> None:
    found = found_of(store, outcome(store))
    assert [(c.label, [p.best_s for p in c.points]) for c in found.curves] == [
        ("cpp_packed", [None, 2e-5, 1e-5]), ("cpp_broken", [None, None]),
    ]  # fmt: skip
    # Not the final's 4e-4: that was taken at another hour.
    assert dict(found.references) == {"cpp_naive": 3e-4, "numpy": 2e-5}


def test_without_a_final_there_are_times_and_no_claims(store: Store) -> None:
    found = found_of(store, outcome(store, final=False))
    assert [r.kernel for r in found.rows] == ["cpp_packed", "numpy", "cpp_naive"]
    assert [r.is_baseline for r in found.rows] == [False, True, False]
    assert all(r.speedup_naive is None and not r.is_winner for r in found.rows)
    assert any("no final was held" in note for note in found.notes)


def test_faster_than_the_peak_is_doubted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ended = outcome(store)
    ended.limits["peak_flops_f32"] = 1e9
    found = found_of(store, ended)
    doubts = [note for note in found.notes if "faster than the measured peak" in note]
    assert doubts
    # On the terminal once, below the table.
    present(stored(store, ended), store)
    printed = " ".join(capsys.readouterr().out.split())
    assert all(printed.count(" ".join(doubt.split())) == 1 for doubt in doubts)


def test_present_prints_a_table_and_writes_files(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    present(stored(store, outcome(store)), store, tmp_path / "out")
    printed = capsys.readouterr().out
    for word in ("My experiment", "cpp_packed", "numpy (library)", "left out: torch", "comparison.png"):
        assert word in printed, word
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"comparison.json", "result.json"} | {
        f"{kind}.{ending}" for kind in ("comparison", "convergence", "roofline") for ending in ("png", "svg")
    }
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["rows"][0]["kernel"] == "cpp_packed"


def test_present_as_json_prints_one_document(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [outcome(store), outcome(store, "32x32x32", final=False)]
    present(stored(store, *results), store, tmp_path / "there", json=True)
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
    present(stored(store, Ended(workload, [broken])), store, tmp_path / "o")
    assert "nothing was timed" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"comparison.json", "result.json"}


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
    found = found_of(store, ended)
    assert found.rows and not any(r.is_winner or r.is_tie or r.speedup_library for r in found.rows)
    present(stored(store, ended), store, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "declares nothing: another program had the cores" in printed and "is the fastest" not in printed
    assert "run the same again" in " ".join(printed.split())
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["disturbed"] == "another program had the cores"
    for picture in ("comparison", "convergence", "roofline"):
        assert "nothing is declared" in (tmp_path / "out" / f"{picture}.svg").read_text(), picture


def test_more_than_the_peak_is_remarked_in_table_picture_and_json(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = outcome(store)
    ended.limits["peak_flops_f32"] = 1e9
    present(stored(store, ended), store, tmp_path / "out")
    assert "cannot be" in capsys.readouterr().out
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert any(row["remark"] for row in document["rows"])
    assert all(bool(row["remark"]) == (row["share_of_peak"] > 1.05) for row in document["rows"])
    assert "cannot be" in (tmp_path / "out" / "comparison.svg").read_text()
    assert "above the measured peak" in (tmp_path / "out" / "roofline.svg").read_text()


def test_peaks_of_a_busy_machine_are_marked_wherever_a_share_of_them_is(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = outcome(store)
    ended.peaks_disturbed = True
    present(stored(store, ended), store, tmp_path / "out")
    assert "it may be too low" in capsys.readouterr().out
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["peaks_disturbed"] is True
    for picture in ("comparison", "roofline"):
        assert "it may be too low" in (tmp_path / "out" / f"{picture}.svg").read_text(), picture


def test_an_interrupted_campaign_says_so_in_table_picture_and_json(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = outcome(store, final=False)
    ended.status = "interrupted"
    campaign = stored(store, ended, command="tuner compare x.toml")
    present(campaign, store, tmp_path / "out")
    printed = capsys.readouterr().out
    assert f"campaign {campaign.id} was interrupted (0 of 1 workloads finished)" in printed
    assert "to go on with it: tuner compare x.toml" in printed and "interrupted: times are of" in printed
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["unfinished"] is True
    for picture in ("comparison", "convergence", "roofline"):
        assert "interrupted: nothing is declared" in (tmp_path / "out" / f"{picture}.svg").read_text()


def test_a_time_of_a_busy_machine_is_marked_where_no_final_was_held(store: Store) -> None:
    ended = outcome(store, final=False)
    kernel = KernelInfo("loud", "source", "cxx", "gemm")
    number = store.begin_sweep(SweepSpec(ended.workload, DEVICE, kernel, "cpu:avx2", "random", 0, PROTOCOL))
    key = TrialKey(ended.workload, "loud", "source", {}, "cpu:avx2", "tool", "cpu-1", PROTOCOL.digest)
    timed = Measurement(Status.OK, Evidence.MEASURED, (1e-5,), metrics={"disturbed_share": 0.5})
    (trial,) = store.add_trials(number, [Trial(key, timed)])
    ended.kernels.append(
        CampaignKernel("loud", "source", "cxx", sweep_id=number, best_id=trial, trials=1,
                       summary={"statuses": {"ok": 1}})
    )  # fmt: skip
    remarks = {row.kernel: row.remark for row in found_of(store, ended).rows}
    assert "disturbed" in remarks.pop("loud") and not any(remarks.values())


def test_a_campaign_whose_process_was_killed_shows_what_its_sweeps_hold(store: Store) -> None:
    workload = registry.operator("gemm").parse("64x64x64")
    record, _ = sweep(store, workload, "cpp_packed", [2e-5, 1e-5])
    spec = CampaignSpec("comparison", "T", DEVICE, "cpu:avx2", PROTOCOL, [workload])
    number = store.begin_campaign(spec)
    begun = [CampaignKernel(name, "source", "cxx") for name in ("cpp_packed", "cpp_naive", "cpp_tiled")]
    store.begin_part(number, 0, begun)
    store.note_sweep(number, 0, "cpp_packed", record.sweep_id or 0)
    campaign = store.campaign(number)
    found = gather(campaign, campaign.parts[0], store)
    assert [(row.kernel, row.trials, row.config) for row in found.rows] == [("cpp_packed", 2, {"MC": 1})]
    assert "left out: cpp_naive, cpp_tiled: it was not reached" in found.notes


def test_layers_of_models_are_shown_in_the_order_and_number_they_were_asked_for(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = outcome(store), outcome(store, "32x32x32")
    layers = [
        CampaignLayer(first.workload.key, "a", 3), CampaignLayer(second.workload.key, "b", 1),
        CampaignLayer(first.workload.key, "b", 2), CampaignLayer("gemm/f32/m1-n1-k1", "b", 9),
    ]  # fmt: skip
    campaign = stored(store, first, second, kind="network", layers=layers, command="tuner compare n.toml")
    present(campaign, store, tmp_path / "out", json=True)
    document = json.loads(capsys.readouterr().out)
    shown = [(layer["model"], layer["count"], layer["workload"]) for layer in document["layers"]]
    assert shown == [(each.model, each.count, each.workload) for each in layers[:3]]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "network.json", "network.md", "network.png", "network.svg", "result.json",
    }  # fmt: skip
    assert "`tuner compare n.toml`" in (tmp_path / "out" / "network.md").read_text()
    present(campaign, store)
    assert "geometric mean" in capsys.readouterr().out
