"""Time that is bounded as a whole: parts of layers, races that end in time, finals that end early."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.test_disturbed_final import Built, Shop, turns
from tuner import registry
from tuner.cli.layer_progress import LayerProgress
from tuner.core.protocol import Protocol
from tuner.core.turns import FEWEST
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device
from tuner.engine.tuning import campaign, finals, race
from tuner.engine.tuning.allotment import LEAST_FINAL_S, MOST_FINAL_S, Allotment, final_s
from tuner.engine.tuning.campaign_log import CampaignLog
from tuner.engine.tuning.finals import SITTINGS, Finalist, run_final
from tuner.engine.tuning.observer import LayerEvent, Observer
from tuner.engine.tuning.peaks import Peaks
from tuner.engine.tuning.race import STAGES, Race
from tuner.engine.tuning.series import SeriesLayer, run_series
from tuner.engine.tuning.shortlist import MOST, may_end, shortlist
from tuner.store.campaign_records import CampaignPart
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
LAYERS = [GEMM.parse(f"{n}x8x8") for n in (8, 16, 32)]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_takes_longer_takes_it_from_all_later_ones() -> None:
    clock = Clock()
    allotment = Allotment(200.0, dict(zip(LAYERS, (2.0, 1.0, 1.0), strict=True)), clock)
    assert allotment.take(LAYERS[0]) == pytest.approx(50)
    clock.now += 80
    assert [allotment.take(w) for w in LAYERS[1:2]] == [pytest.approx(10)]
    allotment.skip(LAYERS[2])
    clock.now += 90
    assert allotment.take(LAYERS[2]) == 1.0, "late as it is, it is tuned"


def test_a_final_has_its_share_and_never_more_than_half() -> None:
    assert [final_s(s) for s in (4, 20, 50, 1000)] == [2, LEAST_FINAL_S, 15, MOST_FINAL_S]


class FakeSweep:
    """Trials of a second each, of kernels as fast as their names say."""

    clock: Clock
    begun = False

    def __init__(self, request: Any, *_: Any) -> None:
        self.name, self.trials, self.closed = request.kernel.name, 0, ""

    def look_ahead(self, *_: Any) -> None:
        """As where builds disturb measurements."""

    def run(self, pause_at: int | None, pause_s: float | None) -> Any:
        until = self.clock.now + (pause_s if pause_s is not None else 1e9)
        first = True
        while self.trials < min(pause_at or 60, 60) and (first or self.clock.now + 1 <= until):
            self.trials, self.clock.now, first = self.trials + 1, self.clock.now + 1, False
        return self.close() if self.trials == 60 else self.result()

    def result(self) -> Any:
        best = SimpleNamespace(measurement=SimpleNamespace(time_s=float(self.name), metrics={}))
        return SimpleNamespace(best=best, trials=[0] * self.trials, interrupted=False)

    def close(self, interrupted: bool = False, behind: bool = False) -> Any:
        self.closed = "behind" if behind else "done"
        return self.result()


def raced(monkeypatch: pytest.MonkeyPatch, seconds: float | None, names: str = "1.0 1.1 1.2 1.4 2.0") -> Any:
    clock = FakeSweep.clock = Clock()
    monkeypatch.setattr(race, "Sweep", FakeSweep)
    requests = [SimpleNamespace(kernel=SimpleNamespace(name=name)) for name in names.split()]
    running = Race(requests, None, None, Observer(), None, give_up_after=6)  # type: ignore[arg-type]
    running.for_the_winner(None if seconds is None else clock.now + seconds, clock)
    results = running.run()
    return running, {name: len(r.trials) for name, r in results.items()}, clock.now - 100


def test_kernels_behind_give_up_in_stages_and_the_front_has_the_trials(monkeypatch: Any) -> None:
    running, tried, _ = raced(monkeypatch, None)
    assert tried == {"1.0": 60, "1.1": 60, "1.2": 24, "1.4": 12, "2.0": 6}
    assert set(running.given_up) == {"1.2", "1.4", "2.0"} and len(STAGES) == 3


@pytest.mark.parametrize("seconds", [3.0, 30.0, 100.0])
def test_a_race_ends_in_time_and_nobody_is_left_out(monkeypatch: Any, seconds: float) -> None:
    _, tried, took = raced(monkeypatch, seconds)
    assert took <= max(seconds, 5) + 2 and all(tried.values())
    if seconds == 100.0:
        assert took > 90 and tried["1.0"] > 2 * tried["2.0"]


def lean(*scripts: Any, late: bool = False) -> tuple[Any, int]:
    shop = Shop(*scripts)
    finalists = [Finalist(f"k{i}", i, Built(i)) for i in range(len(scripts))]  # type: ignore[arg-type]
    stop = partial(may_end, late=late)
    ranking = run_final(shop, None, finalists, 9, stop=stop)  # type: ignore[arg-type]
    return ranking, shop.started // len(scripts)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    real = finals.replace
    monkeypatch.setattr(finals, "replace", lambda x, **c: x if isinstance(x, Built) else real(x, **c))


def test_a_final_ends_when_its_winner_is_clear_or_it_is_late() -> None:
    ranking, sittings = lean(turns(2.0), turns(1.0))
    assert (ranking.winner, sittings) == (1, FEWEST)
    ranking, sittings = lean(turns(1.0), turns(1.0))
    assert ranking.tied and sittings == SITTINGS
    ranking, sittings = lean(turns(1.0), turns(1.0), late=True)
    assert ranking.tied and sittings == FEWEST


def trial(seconds: float) -> Any:
    return SimpleNamespace(measurement=SimpleNamespace(time_s=seconds))


def test_what_is_near_the_front_meets_with_what_was_best_before() -> None:
    leaders = {"a": [trial(1.0), trial(1.1)], "b": [trial(1.15), trial(1.3)], "c": [trial(5.0)], "d": []}
    found = shortlist(leaders, {"a": trial(2.0), "c": trial(0.9)})
    assert {name: len(of) for name, of in found.leaders.items()} == {"a": 2, "b": 1}
    assert (set(found.compared), set(found.previous)) == ({"a"}, {"a", "c"})
    many = {name: [trial(1.0), trial(1.0)] for name in "abcde"}
    assert sum(len(of) for of in shortlist(many, {}).leaders.values()) == MOST
    assert sum(len(of) for of in shortlist(many, {}, left_s=1.0).leaders.values()) == 2
    assert not shortlist({"a": []}, {}).leaders


@pytest.mark.parametrize(("busy", "asked"), [([False], [0]), ([True, False], [0, 1]), ([True, True], [0, 1])])
def test_a_series_measures_peaks_once_and_on_a_busy_machine_twice(
    busy: list[bool], asked: list[int], monkeypatch: Any, tmp_path: Path
) -> None:
    measured, used = [], []

    def campaign_of(workload: Workload, *_: Any) -> Any:
        peaks, place = _[-1], len(used)
        if peaks is None:
            measured.append(place)
            peaks = Peaks({"peak_flops_f32": 10.0 - place}, busy[place])
        used.append(peaks.limits["peak_flops_f32"])
        return SimpleNamespace(
            workload=workload, interrupted=False, limits=peaks.limits, peaks_disturbed=peaks.disturbed,
            ranking=None, sweeps={},
        )  # fmt: skip

    monkeypatch.setattr(campaign, "run_campaign", campaign_of)
    with open_store(tmp_path / "r.db") as store:
        setting = campaign.Setting(default_device("cpu"), Protocol(), campaign.Plan(), store)
        run_series([SeriesLayer(workload) for workload in LAYERS], setting, ["cpp_naive"], False)
    assert measured == asked
    assert used[-1] == (10.0 if busy != [True, False] else 9.0), "an undisturbed one, else the larger"


def test_a_layer_is_one_line_and_what_its_sweeps_say_is_left_out(capsys: Any) -> None:
    progress = LayerProgress()
    progress.runtime_s = {LAYERS[0]: 2e-3}
    progress.note("before")
    progress.layer_began(1, 2, LAYERS[0])
    progress.note("transfer: the store knows this kernel from everything")
    progress.layer_ended(LayerEvent(LAYERS[0], "cpp_packed", 1e-3, 12))
    before, head, line = capsys.readouterr().err.splitlines()
    assert before == "before" and "tuned" in head
    assert all(word in line for word in ("1/2", "2.00 ms", "1.00 ms", "12", "cpp_packed", LAYERS[0].key))


def test_a_layer_of_an_earlier_run_has_its_line_too(monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    def kept(_: Any, number: int, *__: Any) -> CampaignPart:
        return CampaignPart(number, LAYERS[number], "finished")

    monkeypatch.setattr(CampaignLog, "kept", kept)
    with open_store(tmp_path / "r.db") as store, LayerProgress() as progress:
        setting = campaign.Setting(default_device("cpu"), Protocol(), campaign.Plan(), store, progress)
        run_series([SeriesLayer(workload) for workload in LAYERS], setting, ["cpp_naive"], False)
    _, *lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert all("finished in an earlier run" in line and "declared" not in line for line in lines)


def test_where_the_winner_is_wanted_what_cannot_be_tuned_takes_no_time(
    monkeypatch: Any, tmp_path: Path
) -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def campaign_of(workload: Workload, kernels: Any, setting: Any, skipped: Any, *_: Any) -> Any:
        seen.append(({kernel.name for kernel in kernels}, set(skipped)))
        return SimpleNamespace(workload=workload, interrupted=False, limits={}, ranking=None, sweeps={})

    monkeypatch.setattr(campaign, "run_campaign", campaign_of)
    with open_store(tmp_path / "r.db") as store:
        for only in (True, False):
            plan = campaign.Plan(winner_only=only)
            setting = campaign.Setting(default_device("cpu"), Protocol(), plan, store)
            run_series([SeriesLayer(LAYERS[0])], setting, baselines=False)
    (winner, left), (every, _) = seen
    assert "cpp_naive" in left and "cpp_packed" in winner and every == winner | {"cpp_naive"}
