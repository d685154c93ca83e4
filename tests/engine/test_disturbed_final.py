"""Finals beside other programs: turns repeated, rounds dropped, sittings held again, or nothing declared."""

from collections.abc import Iterator
from typing import Any

import pytest

from tuner.core.protocol import Protocol
from tuner.core.turns import FEWEST
from tuner.engine.tuning.finals import BAD_ROUNDS, SITTINGS, SPARE, TRIES, Finalist, run_final


class Child:
    """Answers as `serve_job` does: a time, and what others took of it."""

    def __init__(self, answers: Iterator[dict[str, Any]]) -> None:
        self._answers, self._next, self.channel = answers, {"ok": True, "calls": 1}, self

    def send(self, request: Any) -> None:
        self._next = {"ok": True} if request == "verify" else next(self._answers)

    def receive(self, timeout: float) -> Any:
        return self._next

    def wait(self) -> int:
        return 0

    pause = proceed = kill = lambda self: None


class Shop:
    """In place of a `Workshop`: of each finalist an endless script."""

    protocol = Protocol(threads=1)

    class device:
        fingerprint = "scripted"
        exclusive = False
        shares_cpu = True
        own_memory_free_bytes = staticmethod(lambda: None)
        called = staticmethod(lambda: "script")

    def __init__(self, *scripts: Iterator[dict[str, Any]]) -> None:
        self._scripts = scripts
        self.started = 0

    def settle(self) -> None:
        pass

    release = settle

    def serve(self, workload: Any, built: int) -> Child:
        self.started += 1
        return Child(self._scripts[built])


def turns(seconds: float, pattern: str = "-", steal: float = 0.0) -> Iterator[dict[str, Any]]:
    """Answers for ever: `-` an undisturbed turn, `x` one that others made 25 times as long."""
    while True:
        for mark in pattern:
            bad = mark == "x"
            yield {"seconds": seconds * (25 if bad else 1), "disturbed": bad, "others_share": 0.5 * bad,
                   "steal_s": steal, "wall_s": 0.1, "throttled": 0}  # fmt: skip


class Built(int):
    """What `replace` is called on after a sitting: its place among the scripts is all it has."""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.tuning.finals.replace", _replace)


def _replace(thing: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return thing if isinstance(thing, Built) else replace(thing, **changes)


def held(*scripts: Iterator[dict[str, Any]], rounds: int = 18, **more: Any) -> tuple[Any, Shop]:
    shop = Shop(*scripts)
    finalists = [Finalist(f"k{i}", i, Built(i), baseline=i == 0) for i in range(len(scripts))]  # type: ignore[arg-type]
    return run_final(shop, None, finalists, rounds, **more), shop  # type: ignore[arg-type]


def test_an_undisturbed_final_is_as_it_was() -> None:
    ranking, shop = held(turns(2.0), turns(1.0))
    assert (ranking.winner, ranking.disturbed, ranking.remarks) == (1, "", ())
    assert ranking.entries[1].turns.processes == (2,) * SITTINGS
    assert shop.started == 2 * SITTINGS


def test_a_final_of_few_processes_has_all_its_rounds_in_them() -> None:
    ranking, shop = held(turns(2.0), turns(1.0), sittings=3)
    assert (ranking.winner, ranking.disturbed) == (1, "") and shop.started == 2 * 3
    assert ranking.entries[1].turns.processes == (6,) * 3
    # One that stays disturbed is still none.
    assert held(turns(2.0, "x"), turns(1.0), sittings=3)[0].disturbed


def test_a_disturbed_turn_is_taken_again_and_does_not_count() -> None:
    ranking, shop = held(turns(2.0, "xx-" * 7 + "-"), turns(1.0))
    assert ranking.winner == 1 and ranking.entries[1].speedup.mid == pytest.approx(2.0)
    assert set(ranking.entries[0].turns.samples) == {2.0}
    assert shop.started == 2 * SITTINGS
    assert "were disturbed by other programs" in ranking.remarks[0]


def test_a_round_in_which_one_stays_disturbed_counts_for_nobody() -> None:
    ranking, _ = held(turns(2.0, "-" + "x" * TRIES + "-"), turns(1.0))
    first, second = ranking.entries
    assert set(first.turns.samples) == {2.0}
    assert first.turns.processes == second.turns.processes == (2,) * SITTINGS


def test_a_disturbed_sitting_is_held_again() -> None:
    lost = "x" * TRIES * BAD_ROUNDS
    ranking, shop = held(turns(2.0, lost + "-" * 2 * SITTINGS), turns(1.0))
    assert ranking.winner == 1 and not ranking.disturbed
    assert set(ranking.entries[0].turns.samples) == {2.0}
    assert shop.started == 2 * (SITTINGS + 1)


@pytest.mark.parametrize("disturbed", [0, 1])
def test_a_final_that_stays_disturbed_declares_nothing_and_says_why(disturbed: int) -> None:
    patterns = ["-", "-"]
    patterns[disturbed] = "x"
    ranking, shop = held(turns(2.0, patterns[0]), turns(1.0, patterns[1]))
    assert (ranking.winner, ranking.tied, ranking.reference) == (None, (), None)
    assert f"turns of k{disturbed} were disturbed" in ranking.disturbed and "50%" in ranking.disturbed
    assert all(e.speedup is None and e.turns.samples and not e.error for e in ranking.entries)
    assert shop.started == 2 * SPARE, "it is given up"


def test_with_six_sittings_left_there_is_a_verdict() -> None:
    lost = "x" * TRIES * BAD_ROUNDS
    ranking, _ = held(turns(2.0, "--" * FEWEST + lost * 99), turns(1.0))
    assert ranking.winner == 1 and not ranking.disturbed
    assert len(ranking.entries[0].turns.processes) == FEWEST


def test_who_was_stolen_from_and_who_was_not_did_not_see_the_same_machine() -> None:
    ranking, _ = held(turns(2.0, steal=0.03), turns(1.0))
    assert ranking.winner is None
    assert "not all saw the same machine" in ranking.disturbed and "30%" in ranking.disturbed
    # A few percent more or less are what a shared machine is like.
    ranking, _ = held(turns(2.0, steal=0.006), turns(1.0, steal=0.001))
    assert ranking.winner == 1 and not ranking.disturbed


def test_an_answer_that_is_none_throws_out() -> None:
    def nonsense() -> Iterator[dict[str, Any]]:
        while True:
            yield {"seconds": float("nan"), "disturbed": False}

    ranking, _ = held(turns(1.0), nonsense())
    assert "during the final" in ranking.entries[1].error and ranking.winner == 0
