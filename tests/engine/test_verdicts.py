"""Which configuration of a kernel a final keeps, and how it says that the machine was loud."""

import random
from typing import Any

import pytest

from tests.engine.calm import CalmCpu
from tests.engine.planted import planted
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import Finalist, FinalPlacing, Ranking
from tuner.engine.tuning.verdicts import chosen, kept_remarks, loud_remark
from tuner.report.campaign_view import view
from tuner.report.verdict import default_sentences
from tuner.store.store import open_store

WORKLOAD = registry.operator("gemm").parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)


def entry(label: str, number: int, seconds: float, **told: Any) -> FinalPlacing:
    """Nine processes that differ by 2%, in another order for each entry."""
    spread = [0.99 + 0.0025 * i for i in range(9)]
    random.Random(number).shuffle(spread)
    turns = Turns(tuple(seconds * s for s in spread), (1,) * 9)
    return FinalPlacing(Finalist(label, number, None, **told), turns, "", Interval(1, 1, 1))  # type: ignore[arg-type]


def ranking(*entries: FinalPlacing, disturbed: str = "") -> Ranking:
    return Ranking(entries, 0, 0, (), disturbed=disturbed)


def test_a_best_that_is_better_by_less_than_the_interval_does_not_replace_the_previous_one() -> None:
    held = ranking(
        entry("k", 1, 1.001, previous=True), entry("k", 2, 1.0, place=(0,)), entry("other", 3, 1.0)
    )
    assert chosen(held) == {"k": 0, "other": 2}
    (remark,) = kept_remarks(held)
    assert remark == "k: t2 differs from the previous best, t1, by less than the interval: t1 is kept"
    sure = ranking(entry("k", 1, 1.1, previous=True), entry("k", 2, 1.0))
    assert chosen(sure) == {"k": 1} and not kept_remarks(sure)


def test_why_the_fastest_of_a_table_is_not_the_winner_is_said() -> None:
    by_place = ranking(entry("k", 1, 1.001, place=(0,)), entry("k", 2, 1.0, place=(1,)))
    assert kept_remarks(by_place) == [
        "k: t2 cannot be told from t1 at 95%: t1, which comes first in the kernel's lists, stands for both"
    ]
    by_default = ranking(entry("k", 1, 1.001, default=True), entry("k", 2, 1.0))
    assert "t1, which is the kernel's default, stands for both" in kept_remarks(by_default)[0]
    assert not kept_remarks(ranking(entry("k", 1, 1.0), entry("k", 2, 1.001, place=(1,))))


@pytest.mark.parametrize("times", [(1.0, 1.001, 1.002), (1.002, 1.001, 1.0)])
def test_two_finals_of_the_same_configurations_choose_alike(times: tuple[float, ...]) -> None:
    places = [(1, 0), (0, 12), (0, 2)]
    held = ranking(*(entry("k", n, t, place=p) for n, (t, p) in enumerate(zip(times, places, strict=True))))
    assert chosen(held) == {"k": 2}, "the first in the order of the lists, not of the text of its numbers"


def test_what_declares_nothing_chooses_nothing() -> None:
    assert chosen(ranking(entry("k", 1, 1.0), disturbed="others had the cores")) == {}


def test_a_final_far_below_what_the_sweeps_saw_is_that_of_a_loud_machine() -> None:
    said = loud_remark(ranking(entry("a", 1, 1.3, swept_s=1.0), entry("b", 2, 1.5, swept_s=1.0)))
    assert said.startswith(
        "loud machine: all 2 finalists were slower in the final than in their sweeps, 1.30 to"
    )
    assert not loud_remark(ranking(entry("a", 1, 1.3, swept_s=1.0), entry("b", 2, 1.1, swept_s=1.0)))
    assert not loud_remark(ranking(entry("a", 1, 1.3, swept_s=1.0)))


def test_the_default_is_in_the_final_and_what_tuning_gave_is_said(tmp_path) -> None:
    """UNUSED changes nothing, so that tuned is no better; the budget does not reach the default by itself."""
    kernel = planted(
        tmp_path, "one", "right(A, B, D, m, n, k); volatile int u = UNUSED; (void)u;", "[0, 1, 2, 3]"
    )

    def held(store: Any, **plan: Any) -> Any:
        options = {"configs": [{"UNUSED": 3}]}
        made = campaign.Plan("given", budget=Budget(trials=1), rounds=9, finalists=1, options=options, **plan)
        found = campaign.run_campaign(WORKLOAD, [kernel], campaign.Setting(CalmCpu(), QUICK, made, store))
        stored = store.campaign(found.campaign_id)
        return view(stored, stored.parts[0], store)

    with open_store(str(tmp_path / "r.db")) as store:
        shown = held(store)
        assert {(e.config["UNUSED"], e.default) for e in shown.entries} == {(3, False), (0, True)}
        if not shown.disturbed:
            (said,) = default_sentences(shown)
            assert said.startswith("one: tuned is ")
        again = held(store, defaults={"one": {"UNUSED": 2}})
        assert {e.config["UNUSED"] for e in again.entries if e.default} == {2}
        with pytest.raises(TunerError, match=r"the default of one at .*UNUSED"):
            held(store, defaults={"one": {"UNUSED": 9}})
        with pytest.raises(TunerError, match="no default for cpp_tiled: the kernels tuned here are one"):
            held(store, defaults={"cpp_tiled": {"MC": 9}})
