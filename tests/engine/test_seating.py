"""Groups of a final: by memory, or one process at a time."""

import random

import pytest

from tuner.engine.tuning.seating import Seating

GIB = float(2**30)


def test_all_sit_at_once_where_the_device_has_room() -> None:
    for plan in (Seating((GIB,) * 4), Seating((GIB,) * 4, room=4 * GIB)):
        assert [sorted(g) for g in plan.groups(range(4), random.Random(0))] == [[0, 1, 2, 3]]
        assert plan.remark() is None


def test_groups_fit_hold_everybody_once_and_differ_between_sittings() -> None:
    plan = Seating((30 * GIB, 30 * GIB, 30 * GIB, 200 * GIB), room=72 * GIB, noun="GPU")
    rng, together = random.Random(1), set()
    for _ in range(20):
        groups = plan.groups(range(4), rng)
        assert sorted(i for g in groups for i in g) == [0, 1, 2, 3]
        # What fits nowhere is alone, and fails by its own doing.
        assert [3] in groups
        assert all(sum(plan.needs[i] for i in g) <= 72 * GIB for g in groups if g != [3])
        together.update(frozenset(g) for g in groups if len(g) == 2)
    assert together == {frozenset(p) for p in ((0, 1), (0, 2), (1, 2))}
    assert "290.0 GiB" in str(plan.remark()) and "72.0 GiB" in str(plan.remark())
    assert plan.groups([0, 2], rng) in ([[0, 2]], [[2, 0]]), "who has left takes no room"


@pytest.mark.parametrize("present", [[0], [0, 1, 2]])
def test_an_exclusive_device_has_one_finalist_at_a_time(present: list[int]) -> None:
    plan = Seating((GIB,) * 3, room=80 * GIB, one_by_one=True, noun="GPU")
    groups = plan.groups(present, random.Random(0))
    assert sorted(groups) == [[i] for i in present]
    assert "exclusive-process" in str(plan.remark())
