"""The final: interleaved, in several processes, wrong ones thrown out."""

import contextlib
from dataclasses import replace

import pytest

from tests.engine.calm import CalmCpu
from tests.engine.planted import MISBEHAVIOURS, planted
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import FEWEST
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes.channel import ChannelGarbage
from tuner.engine.tuning import campaign, final_stage, finals, peaks
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import SITTINGS, Finalist, run_final
from tuner.engine.tuning.peaks import Peaks
from tuner.report.campaign_view import view
from tuner.report.records_json import part_json
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)
# Takes 1 or 20 times as long, in turn, from a process' first call to its last.
MOODY = """
  static const bool slow = [] {{
    FILE* file = std::fopen("{path}", "a");
    const bool odd = std::ftell(file) % 2;
    std::fputc('.', file);
    std::fclose(file);
    return odd;
  }}();
  for (int i = 0; i < (slow ? 20 : 1); ++i) right(A, B, D, m, n, k);
"""


@pytest.fixture
def workshop():
    with Workshop(CalmCpu(), QUICK, seed=3) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def test_final_throws_out_what_is_wrong_and_declares_against_the_baseline(workshop, tmp_path):
    slow = planted(tmp_path, "slow", "for (int i = 0; i < 60; ++i) right(A, B, D, m, n, k);")
    fast = planted(tmp_path, "fast")
    wrong = planted(tmp_path, "wrong", MISBEHAVIOURS["wrong_on_ragged_shapes"][0])
    crash = planted(
        tmp_path, "late", "static int c = 0; right(A, B, D, m, n, k); if (++c > 30) std::abort();"
    )
    companions = GEMM.companions(WORKLOAD)
    finalists = [
        Finalist(k.name, i, workshop.build(k, WORKLOAD, {"UNUSED": 0}, companions), k is slow)
        for i, k in enumerate((slow, fast, wrong, crash))
    ]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=8)
    entries = {e.finalist.label: e for e in ranking.entries}
    assert "times the tolerance" in entries["wrong"].error and not entries["wrong"].turns.samples
    assert "exit code -6" in entries["late"].error
    assert ranking.winner == 1 and ranking.reference == 0 and ranking.tied == ()
    speedup = entries["fast"].speedup
    assert isinstance(speedup, Interval) and speedup.low > 2
    assert len(entries["fast"].turns.samples) == SITTINGS


def test_equal_finalists_tie(workshop, tmp_path):
    kernel = planted(tmp_path, "twin")
    finalists = [Finalist(f"twin{i}", i, workshop.build(kernel, WORKLOAD, {"UNUSED": 0})) for i in range(2)]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=30)
    # The same binary twice: an interval that excluded 1 by much would be a false discovery.
    slower = max((e for e in ranking.entries), key=lambda e: e.interval.mid)
    assert ranking.tied or slower.speedup.high > 0.9


def test_a_kernel_whose_processes_differ_has_an_interval_that_says_so(workshop, tmp_path):
    moody = planted(tmp_path, "moody", MOODY.format(path=tmp_path / "log"))
    steady = planted(tmp_path, "steady", "for (int i = 0; i < 5; ++i) right(A, B, D, m, n, k);")
    finalists = [
        Finalist(k.name, i, workshop.build(k, WORKLOAD, {"UNUSED": 0})) for i, k in enumerate((moody, steady))
    ]
    rounds: list[tuple[int, int]] = []
    ranking = run_final(
        workshop, WORKLOAD, finalists, rounds=17, report=lambda done, total: rounds.append((done, total))
    )
    first, second = ranking.entries
    assert first.turns.processes == second.turns.processes == (2,) * SITTINGS
    assert first.interval.high > 5 * first.interval.low and second.interval.high < 3 * second.interval.low
    # Half of its processes are faster than the other kernel, half are slower.
    assert ranking.tied
    assert rounds == [(i, 18) for i in range(1, 19)]


def test_a_slow_finalist_takes_one_turn_in_each_of_six_processes(workshop, tmp_path):
    slow = planted(tmp_path, "slow", "for (int i = 0; i < 3000; ++i) right(A, B, D, m, n, k);")
    fast = planted(tmp_path, "fast")
    finalists = [
        Finalist(k.name, i, workshop.build(k, WORKLOAD, {"UNUSED": 0})) for i, k in enumerate((slow, fast))
    ]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=30, budget_s=0.5)
    first, second = ranking.entries
    assert first.turns.processes == (1,) * FEWEST and sum(second.turns.processes) > FEWEST
    assert ranking.winner == 1 and not ranking.tied


def noted(monkeypatch, events):
    def hold(*arguments, **named):
        events.append("final")
        return run_final(*arguments, **named)

    monkeypatch.setattr(final_stage, "run_final", hold)


@pytest.mark.usefixtures("measured_peaks")
def test_peaks_are_measured_beside_the_final_and_not_where_there_is_none(tmp_path, monkeypatch):
    events: list[str] = []

    def peaks(self):
        events.append("peaks")
        return {"peak_flops_f32": 1e13 * (3 - len(events))}

    monkeypatch.setattr(Workshop, "limits", peaks)
    monkeypatch.setattr(
        final_stage, "run_final", lambda *a, **k: events.append("final") or run_final(*a, **k)
    )
    kernels = [planted(tmp_path, "one"), planted(tmp_path, "two", "right(A, B, D, m, n, k); ")]
    device = CalmCpu()

    def peak(store, **plan):
        settings = campaign.Plan(budget=Budget(trials=1), remeasure=True, **plan)
        found = campaign.run_campaign(WORKLOAD, kernels, campaign.Setting(device, QUICK, settings, store))
        return found.limits.get("peak_flops_f32")

    with open_store(str(tmp_path / "results.db")) as store:
        assert peak(store, rounds=0) is None and events == []
        assert peak(store, rounds=6) == 2e13 and events == ["peaks", "final"]
        assert peak(store, rounds=6) == 2e13 and events[2:] == ["final"]
        events.clear()
        # The larger of the two: the machine was slower during one of them.
        assert peak(store, rounds=6, refresh_limits=True) == 2e13 and events == ["peaks", "final", "peaks"]
        assert peak(store, rounds=0) == 2e13


def test_the_best_tuned_kernel_is_in_the_final_however_far_behind(tmp_path):
    """Its speed-up is what the final is held for; what is far behind it is left out."""
    behind = planted(tmp_path, "behind", "for (int i = 0; i < 60; ++i) right(A, B, D, m, n, k);")
    slow = planted(tmp_path, "slow", "for (int i = 0; i < 400; ++i) right(A, B, D, m, n, k);")
    (library,) = [k for k in registry.kernels_of("gemm", "cpu") if k.name == "numpy"]
    settings = campaign.Plan(budget=Budget(trials=1), rounds=6, final_within=2.0)
    with open_store(str(tmp_path / "results.db")) as store:
        device = CalmCpu()
        found = campaign.run_campaign(
            WORKLOAD, [slow, behind, library], campaign.Setting(device, QUICK, settings, store)
        )
    assert [e.finalist.label for e in found.ranking.entries] == ["behind", "numpy"]
    speedup = found.ranking.entries[0].speedup
    assert speedup is not None and speedup.high < 0.5


def test_contenders_are_the_fastest_kernels_with_one_configuration_each(tmp_path):
    """Not the slowest, however near it may be; the library is there."""
    kernels = [
        planted(tmp_path, name, f"for (int i = 0; i < {times}; ++i) right(A, B, D, m, n, k);")
        for name, times in (("slow", 400), ("fast", 1), ("middle", 60))
    ]
    (library,) = [k for k in registry.kernels_of("gemm", "cpu") if k.name == "numpy"]
    settings = campaign.Plan(budget=Budget(trials=1), rounds=6, contenders=2, sittings=2)
    with open_store(str(tmp_path / "results.db")) as store:
        found = campaign.run_campaign(
            WORKLOAD, [*kernels, library], campaign.Setting(CalmCpu(), QUICK, settings, store)
        )
        (asked,) = [each.spec.asked for each in store.campaigns()]
    assert [e.finalist.label for e in found.ranking.entries] == ["fast", "middle", "numpy"]
    assert {e.turns.processes for e in found.ranking.entries} == {(3, 3)}
    assert (asked["contenders"], asked["sittings"]) == (2, 2)


@pytest.mark.usefixtures("measured_peaks")
def test_what_is_faster_than_the_peak_is_measured_again_and_said(tmp_path, monkeypatch):
    """First the peak, in case it is stale; then the final too."""
    events: list[str] = []
    peaks = iter([1e3, 1e13, 1e3, 2e3])

    def limits(self):
        events.append("peaks")
        return {"peak_flops_f32": next(peaks)}

    monkeypatch.setattr(Workshop, "limits", limits)
    monkeypatch.setattr(
        final_stage, "run_final", lambda *a, **k: events.append("final") or run_final(*a, **k)
    )
    kernels = [planted(tmp_path, "one"), planted(tmp_path, "two", "right(A, B, D, m, n, k); ")]
    settings = campaign.Plan(budget=Budget(trials=1), remeasure=True, rounds=6)

    def sweep(name):
        with open_store(str(tmp_path / name)) as store:
            found = campaign.run_campaign(
                WORKLOAD, kernels, campaign.Setting(CalmCpu(), QUICK, settings, store)
            )
            stored = store.campaign(found.campaign_id)
            return view(stored, stored.parts[0], store)

    stale = sweep("stale.db")
    assert events == ["peaks", "final", "peaks"] and stale.peak_flops == 1e13
    assert not any(entry.remark for entry in stale.entries)
    events.clear()
    beyond = sweep("beyond.db")
    assert events == ["peaks", "final", "peaks", "final"]
    assert {entry.kernel for entry in beyond.entries} == {"one", "two"}
    assert all("cannot be" in entry.remark for entry in beyond.entries)
    told = [entry["remark"] for entry in part_json(beyond)["final"]["entries"]]
    assert told == [entry.remark for entry in beyond.entries]


def test_peaks_of_a_busy_machine_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Workshop, "limits", lambda self: {"peak_flops_f32": 1e13, "disturbed": 1.0})
    notes: list[str] = []
    with open_store(str(tmp_path / "r.db")) as store, Workshop(CalmCpu(), QUICK, seed=3) as workshop:
        assert peaks.measure_limits(workshop, store, None, notes.append) == Peaks(
            {"peak_flops_f32": 1e13}, True
        )
        assert peaks.known_limits(workshop, store) == {}
    assert "not kept" in notes[0]


def test_a_file_keeps_peaks_for_all_databases(tmp_path, monkeypatch):
    answers = iter([{"peak_flops_f32": 9e12, "disturbed": 1.0}, {"peak_flops_f32": 1e13}])
    monkeypatch.setattr(Workshop, "limits", lambda self: next(answers))
    file = tmp_path / "peaks.json"
    monkeypatch.setenv("TUNER_PEAKS", str(file))
    notes: list[str] = []
    with Workshop(CalmCpu(), QUICK, seed=3) as workshop:

        def once(name):
            with open_store(str(tmp_path / name)) as store:
                found = peaks.limits_once(workshop, store, notes.append)
                return found, peaks.known_limits(workshop, store)

        assert once("busy.db") == (Peaks({"peak_flops_f32": 9e12}, True), {}) and not file.exists()
        notes.clear()
        assert (
            once("first.db")
            == once("second.db")
            == (Peaks({"peak_flops_f32": 1e13}), {"peak_flops_f32": 1e13})
        )
        assert notes == [f"peaks as they were measured earlier, from {file}"]
        for wrong in (
            "[]",
            "{",
            '{"x": 3}',
            '{"x": {"y": "z"}}',
            "\udcff".encode("utf-8", "surrogateescape"),
        ):
            file.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
            with pytest.raises(TunerError, match=r"TUNER_PEAKS=.*peaks\.json holds no peaks .*name another"):
                once("third.db")


def test_peaks_of_a_held_clock_are_not_those_of_a_free_one(tmp_path, monkeypatch):
    class HeldCpu(CalmCpu):
        def held(self, protocol):
            return contextlib.nullcontext()

    answers = iter([{"peak_flops_f32": 1e13}, {"peak_flops_f32": 5e12}])
    monkeypatch.setattr(Workshop, "limits", lambda self: next(answers))
    monkeypatch.setenv("TUNER_PEAKS", str(tmp_path / "peaks.json"))
    for name, megahertz, peak in (
        ("a.db", 0, 1e13),
        ("b.db", 1410, 5e12),
        ("c.db", 1410, 5e12),
        ("d.db", 0, 1e13),
    ):
        protocol = replace(QUICK, clock_mhz=megahertz)
        with open_store(str(tmp_path / name)) as store, Workshop(HeldCpu(), protocol, seed=3) as workshop:
            found = peaks.limits_once(workshop, store, lambda text: None)
            assert found.limits == peaks.known_limits(workshop, store) == {"peak_flops_f32": peak}


def test_a_calibration_on_a_busy_machine_is_not_kept(tmp_path, monkeypatch):
    answers = iter([(2.0, False), (1.0, True), (3.0, True)])
    monkeypatch.setattr(Workshop, "calibrate", lambda self, kind: next(answers))
    notes: list[str] = []
    with open_store(str(tmp_path / "r.db")) as store, Workshop(CalmCpu(), QUICK, seed=3) as workshop:
        found = [peaks.calibration_reference(workshop, store, notes.append) for _ in range(3)]
    assert found == [2.0, 1.0, 1.0]
    assert len(notes) == 1 and "not kept" in notes[0]


def test_a_final_that_is_not_held_leaves_no_builds_and_no_notes(tmp_path, monkeypatch):
    """Neither with one finalist, nor where it ends in an error: a series would fill the disk."""
    kernels = [planted(tmp_path, "one"), planted(tmp_path, "two", "right(A, B, D, m, n, k); ")]
    settings = campaign.Plan(budget=Budget(trials=1), rounds=6)
    monkeypatch.setattr(Workshop, "limits", lambda self: {"peak_flops_f32": 1e13})

    def fail(*_, **__):
        raise RuntimeError("not held")

    monkeypatch.setattr(final_stage, "run_final", fail)
    with open_store(str(tmp_path / "r.db")) as store, Workshop(CalmCpu(), QUICK, seed=3) as shop:
        before = store.patience.note
        campaign.run_campaign(
            WORKLOAD, kernels[:1], campaign.Setting(shop.device, QUICK, settings, store), shared=shop
        )
        assert not list(shop._folder.glob("build-*"))
        with pytest.raises(RuntimeError, match="not held"):
            campaign.run_campaign(
                WORKLOAD, kernels, campaign.Setting(shop.device, QUICK, settings, store), shared=shop
            )
        assert not list(shop._folder.glob("build-*"))
        assert store.patience.note is before


class _Garbler:
    """A finalist that lives, and says what is no message."""

    channel = property(lambda self: self)
    killed = False

    def receive(self, timeout):
        raise ChannelGarbage("not JSON")

    def kill(self):
        self.killed = True


def test_a_finalist_that_says_garbage_was_killed_by_nobody_else():
    garbler = _Garbler()
    assert "unusable answer" in finals._talk(garbler, None, 1.0)
    assert garbler.killed


def test_a_finalist_that_somebody_kills_is_not_thrown_out(workshop, tmp_path):
    """The out-of-memory killer, say: it is no fault of the candidate's, and the final goes on."""
    log = tmp_path / "log"
    victim = planted(
        tmp_path,
        "victim",
        f"""
  static const bool doomed = [] {{
    FILE* file = std::fopen("{log}", "a");
    const bool second = std::ftell(file) == 1;
    std::fputc('.', file);
    std::fclose(file);
    return second;
  }}();
  if (doomed) raise(SIGKILL);
  right(A, B, D, m, n, k);""",
        includes="#include <csignal>",
    )
    kernels = (victim, planted(tmp_path, "other"))
    finalists = [
        Finalist(k.name, i, workshop.build(k, WORKLOAD, {"UNUSED": 0})) for i, k in enumerate(kernels)
    ]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=9)
    assert [entry.error for entry in ranking.entries] == ["", ""] and not ranking.disturbed
    assert len(log.read_text()) == SITTINGS + 1
