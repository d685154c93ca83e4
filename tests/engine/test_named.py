"""Configurations that a user names: what is filled in, what is refused, and that nothing else is measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tuner as library
from tests.engine.calm import CalmCpu
from tests.engine.planted import planted
from tests.engine.test_stream import Scripted, proposals, sweep
from tests.engine.test_verdicts import entry
from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSetting, TunerError, UnknownName
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.engine.tuning import campaign, final_stage
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.named import by_kernel, with_named
from tuner.engine.tuning.plan import MOST_NAMED, Plan
from tuner.engine.tuning.ranking import decide
from tuner.interchange.named_configs import NamedConfig
from tuner.report.campaign_view import view
from tuner.report.records_json import part_json
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
TILED, NAIVE = registry.kernel("cpp_tiled"), registry.kernel("cpp_naive")
TARGET = CalmCpu().target_for(1)
SMALL = {"threads": 1, "TILE_M": 4, "TILE_N": 32, "TILE_K": 4}  # the first valid one
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0, prune_factor=0.0)


def named(*configs: Config, plan: Plan | None = None, exactly: bool = True, notes: Any = ()) -> list[Config]:
    said = notes.append if isinstance(notes, list) else lambda text: None
    made = with_named(plan or Plan(), {"cpp_tiled": configs}, [TILED], WORKLOAD, TARGET, exactly, said)
    return list((made.configs if exactly else made.starts)["cpp_tiled"])


def test_what_is_left_out_is_as_in_the_default_and_what_is_named_twice_is_measured_once() -> None:
    notes: list[str] = []
    found = named({"TILE_M": 8}, {"TILE_K": 8.0, "TILE_M": 8}, {**SMALL, "TILE_M": 8}, notes=notes)
    assert found == [{**SMALL, "TILE_M": 8}, {**SMALL, "TILE_M": 8, "TILE_K": 8}]
    assert all(type(value) is int for config in found for value in config.values())
    filled, twice = notes
    assert filled.startswith("cpp_tiled at gemm/f32/m32-n32-k32: what a configuration leaves out")
    assert "TILE_N=32" in filled and "threads=1" in filled and "TILE_M" not in filled
    assert "2 configurations are measured: 1 of 3 were named before" in twice
    usual = Plan(defaults={"cpp_tiled": {**SMALL, "TILE_N": 32, "TILE_K": 16}})
    assert named({"TILE_M": 8}, plan=usual) == [{**SMALL, "TILE_M": 8, "TILE_K": 16}]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"TILE_M": 5}, r"TILE_M=5: parameter TILE_M: 5 is not one of \[4, 8, 16, 32, 64, 128\] \(left out"),
        ({"TILE_M": "8"}, "parameter TILE_M: '8' is not one of"),
        ({**SMALL, "TILE_M": 5}, r"not one of \[4, 8, 16, 32, 64, 128\]$"),
        ({"TILE_X": 8}, "unknown parameter TILE_X: the parameters are threads, TILE_M, TILE_N, TILE_K"),
        ({"TILE_M": 128}, r"constraint tiles_used is broken: .*left out.*TILE_N=32"),
        ({"threads": 64}, "constraint"),
        ({"X" * 10**5: 8}, r"^.{1,500}: unknown parameter X+\.\.\."),
    ],
)
def test_what_is_outside_the_space_is_named_with_what_would_be_right(config: Config, words: str) -> None:
    for exactly in (True, False):
        with pytest.raises(InvalidConfig, match=words) as caught:
            named({"TILE_M": 8}, config, exactly=exactly)
        assert str(caught.value).startswith("cpp_tiled at gemm/f32/m32-n32-k32: configuration 2 of 2, ")


def test_what_contradicts_is_refused() -> None:
    def planned(given: dict[str, list[Config]], exactly: bool = True, **plan: Any) -> Plan:
        numpy = registry.kernel("numpy")
        return with_named(
            Plan(**plan), given, [TILED, NAIVE, numpy], WORKLOAD, TARGET, exactly, lambda text: None
        )

    with pytest.raises(TunerError, match="no configuration of cpp_naive is named"):
        planned({"cpp_tiled": [SMALL]})
    with pytest.raises(TunerError, match=r"numpy has no .*: the kernels tuned here are cpp_naive, cpp_tiled"):
        planned({"numpy": [{}]}, exactly=False)
    with pytest.raises(TunerError, match="no kernel can be given up"):
        planned({"cpp_tiled": [SMALL], "cpp_naive": [{}]}, give_up_after=3)
    with pytest.raises(InvalidSetting, match="trials is at least 2, as many as are named of cpp_tiled, not"):
        planned({"cpp_tiled": [SMALL, {"TILE_M": 8}]}, exactly=False, budget=Budget(trials=1))


def test_records_of_a_whole_database_give_what_fits_and_the_rest_is_counted() -> None:
    other = GEMM.parse("64x64x64").key

    def record(kernel: str, workload: str = WORKLOAD.key) -> NamedConfig:
        return NamedConfig(SMALL, kernel, workload, "bests.json: entry")

    records = [
        record("cpp_tiled"), record("cpp_naive"), record("numpy"), record("cuda_warp_tiles"),
        record("their_own"), record("cpp_tiled", other), record("cpp_naive", other),
    ]  # fmt: skip
    notes: list[str] = []
    found = by_kernel(records, (), WORKLOAD, TARGET, notes.append)
    assert found == {"cpp_tiled": [SMALL], "cpp_naive": [SMALL]}
    (said,) = notes
    for words in (f"2 of {other}", "1 of numpy, which is a library", "1 of their_own, which is no kernel of"):
        assert words in said
    assert by_kernel(records, ["cpp_naive"], WORKLOAD, TARGET, notes.append) == {"cpp_naive": [SMALL]}
    with pytest.raises(TunerError, match=f"no configuration for .* is named: there are 1 of {other}"):
        by_kernel(records[-1:], (), WORKLOAD, TARGET, notes.append)


@pytest.mark.parametrize(
    ("given", "kernels", "kind", "words"),
    [
        (NamedConfig(SMALL, where="--config 1"), (), TunerError, "--config 1 is of no kernel"),
        (NamedConfig(SMALL, where="--config 1"), ("cpp_tiled", "cpp_naive"), TunerError, "is of no kernel"),
        (NamedConfig(SMALL, "cpp_tild"), (), UnknownName, "did you mean 'cpp_tiled'"),
        (NamedConfig(SMALL, "cuda_warp_tiles"), (), UnknownName, "kernel of gemm on cpu"),
        (NamedConfig(SMALL, "cpp_tiled", where="f"), ("cpp_naive",), TunerError, "f is of cpp_tiled; the"),
        (NamedConfig({}, "numpy", where="f"), ("numpy",), TunerError, "f is of numpy, a library, which has"),
    ],
)
def test_what_somebody_wrote_down_is_refused_where_it_does_not_fit(
    given: NamedConfig, kernels: Sequence[str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        by_kernel([given], kernels, WORKLOAD, TARGET, lambda text: None)


def test_a_kernel_asked_for_twice_is_one() -> None:
    given = [NamedConfig(SMALL, where="--config 1")]
    found = by_kernel(given, ["cpp_tiled", "cpp_tiled"], WORKLOAD, TARGET, lambda text: None)
    assert found == {"cpp_tiled": [SMALL]}


def test_starts_are_the_first_trials_and_the_search_goes_on_from_them(tmp_path: Path) -> None:
    kernel = planted(tmp_path, "begun", values=str(list(range(60))))
    starts: tuple[Config, ...] = tuple({"UNUSED": value} for value in (41, 7, 23, 3, 5, 11))
    for name in ("surrogate", "grid"):
        with open_store(str(tmp_path / f"{name}.db")) as store:
            first = sweep(store, kernel, Scripted(), name, trials=4, starts=starts)
            assert proposals(first) == [41, 7, 23, 3]
            # Interrupted there, it goes on with those it has left.
            store.finish_sweep(first.sweep_id, "interrupted", {})
            whole = sweep(store, kernel, Scripted(), name, trials=12, starts=starts, resume=True)
        assert whole.sweep_id == first.sweep_id and proposals(whole)[:6] == [41, 7, 23, 3, 5, 11]
        assert len(set(proposals(whole))) == 12


def test_a_sweep_of_other_configurations_is_not_gone_on_with(tmp_path: Path) -> None:
    kernel = planted(tmp_path, "left", values=str(list(range(60))))

    def of(store: Any, values: Sequence[int], trials: int, **more: Any) -> Any:
        options = {"configs": [{"UNUSED": value} for value in values]}
        return sweep(store, kernel, Scripted(), "given", trials=trials, options=options, **more)

    with open_store(str(tmp_path / "r.db")) as store:
        begun = of(store, (1, 2, 4), 2)
        store.finish_sweep(begun.sweep_id, "interrupted", {})
        other = of(store, (1, 9), 2, resume=True)
        assert other.sweep_id != begun.sweep_id and proposals(other) == [1, 9]
        same = of(store, (1, 2, 4), 3, resume=True)
        assert same.sweep_id == begun.sweep_id and proposals(same) == [1, 2, 4]


def test_these_and_no_others_are_measured_and_meet_in_the_final(tmp_path: Path) -> None:
    """Its default (0) and its best from before (1) are not among them."""
    kernel = planted(
        tmp_path, "one", "right(A, B, D, m, n, k); volatile int u = UNUSED; (void)u;", "[0, 1, 2, 3, 4]"
    )
    with open_store(str(tmp_path / "r.db")) as store:

        def run(plan: Plan) -> Any:
            return campaign.run_campaign(WORKLOAD, [kernel], campaign.Setting(CalmCpu(), QUICK, plan, store))

        before = run(Plan(rounds=0, configs={"one": [{"UNUSED": 1}]}))
        assert proposals(before.sweeps["one"]) == [1]
        plan = Plan(rounds=9, configs={"one": [{"UNUSED": value} for value in (4, 2, 3)]})
        found = run(plan)
        (swept,) = [s for s in store.sweeps() if s.id == found.sweeps["one"].sweep_id]
        assert (swept.spec.searcher, proposals(found.sweeps["one"])) == ("given", [4, 2, 3])
        assert all(trial.measurement.samples for trial in store.sweep_history(swept.id))
        assert store.count() == 4
        stored = store.campaign(found.campaign_id)
        shown = view(stored, stored.parts[0], store)
        assert {e.config["UNUSED"] for e in shown.entries} == {2, 3, 4}
        said = json.loads(json.dumps(part_json(shown)["sweeps"]["one"], default=str))
        assert [each["config"]["UNUSED"] for each in said["named"]] == [4, 2, 3]
        assert stored.spec.asked["configs"] == {"one": [{"UNUSED": 4}, {"UNUSED": 2}, {"UNUSED": 3}]}


def test_a_final_has_the_fastest_dozen_of_many(tmp_path: Path) -> None:
    values = range(MOST_NAMED + 3)
    trials = [
        SimpleNamespace(
            id=v, key=SimpleNamespace(digest=str(v)),
            measurement=SimpleNamespace(ok=v != 4, time_s=1.0 + v, artifact=f"b{v}"),
        )
        for v in values
    ]  # fmt: skip
    plan = Plan(configs={"cpp_tiled": [{"v": v} for v in values]})
    sweeps: Any = {"cpp_tiled": SimpleNamespace(trials=trials)}
    lineup = final_stage._Lineup(WORKLOAD, sweeps, None, SimpleNamespace(plan=plan), final_stage.Start())  # type: ignore[arg-type]
    picked = [pick.trial.id for pick in lineup._named(TILED)]
    assert picked == [v for v in values if v != 4][:MOST_NAMED]
    assert lineup.remarks == [
        f"cpp_tiled: of {MOST_NAMED + 2} named configurations that are right the {MOST_NAMED} fastest meet"
    ]


def test_named_configurations_of_one_kernel_tie_where_searched_ones_share_a_place() -> None:
    placed = [entry("k", 1, 1.0), entry("k", 2, 1.001), entry("k", 3, 2.0), entry("other", 4, 1.0)]
    held = decide([each.finalist for each in placed], [each.turns for each in placed], [""] * 4)
    shop: Any = SimpleNamespace(device=SimpleNamespace(fingerprint="cpu-1"), protocol=QUICK)
    flags = {}
    for which in ((), ("k",)):
        record = final_stage._record(WORKLOAD, shop, held, which)
        flags[which] = [entry.tie for entry in record.entries]
        assert sum(not entry.beaten for entry in record.entries) == 2, "one stands for its kernel in either"
    assert flags == {(): [True, False, False, True], ("k",): [True, True, False, True]}


@pytest.mark.parametrize(
    ("configs", "words"),
    [
        ({"TILE_M": 8}, r"configurations of TILE_M are a list of dictionaries, .*, not 8$"),
        ({"cpp_tiled": {"TILE_M": 8}}, r"configurations of cpp_tiled are a list .*, not \{'TILE_M': 8\}$"),
        ("TILE_M=8", "configurations are a list of dictionaries, .*, not 'TILE_M=8'$"),
        (3, "configurations are a list of dictionaries, .*, not 3$"),
        ({"cpp_tiled": [{}, [8]]}, r"configuration 2 of cpp_tiled is a dictionary by .*, not \[8\]$"),
        ([{1: 8}], r"configuration 1 is a dictionary by parameters' names, not \{1: 8\}$"),
    ],
)
def test_from_python_what_has_another_form_is_told_with_the_right_one(
    configs: Any, words: str, tmp_path: Path
) -> None:
    for name in ("configs", "starts"):
        with pytest.raises(InvalidConfig, match=words):
            library.tune("gemm", "8x8x8", kernels=["cpp_tiled"], db=str(tmp_path / "r.db"), **{name: configs})
    assert not (tmp_path / "r.db").exists()


def test_from_python(tmp_path: Path) -> None:
    db = str(tmp_path / "r.db")
    asked: dict[str, Any] = {"m": 24, "n": 24, "k": 24, "threads": 1}
    asked |= {"baselines": False, "rounds": 0, "db": db}
    few = [{"TILE_M": 8}, {"TILE_M": 4, "TILE_K": 8}]
    found = library.tune("gemm", kernels=["cpp_tiled"], configs=few, **asked)
    measured = [dict(t.key.config) for t in found.sweeps["cpp_tiled"].trials]
    assert measured == [{**SMALL, **config} for config in few]
    with pytest.raises(InvalidConfig, match="TILE_M: 5 is not one of"):
        library.tune("gemm", configs={"cpp_tiled": [{"TILE_M": 5}]}, **asked)
    with pytest.raises(TunerError, match="configuration 1 is of no kernel"):
        library.tune("gemm", configs=few, **asked)
    with pytest.raises(TunerError, match="starts, seconds and patience are of one"):
        library.tune("gemm", configs=few, starts=few, kernels=["cpp_tiled"], **asked)
    with open_store(db, read_only=True) as store:
        assert store.count() == 2 and len(store.campaigns()) == 1
