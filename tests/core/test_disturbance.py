"""What is called disturbed, and what then becomes of a sample: arithmetic on made-up readings."""

import pytest

from tuner.core.disturbance import (
    DISTURBED,
    Patience,
    Waits,
    calm,
    disturbance_words,
    is_disturbed,
    others_share,
    undisturbed,
)
from tuner.core.peak import doubtful, peak_remark

START = Waits(10.0, 1.0, 5.0, 100, 7, cores=2)


def later(wall: float, waited: float, ran: float, arrivals: int = 0, preempted: int = 0) -> Waits:
    return Waits(10 + wall, 1 + waited, 5 + ran, 100 + arrivals, 7 + preempted, cores=2)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (later(0.1, 0.0, 0.2), 0.0),
        # A spinner on one of two cores: one thread waits half of the time.
        (later(0.1, 0.05, 0.15, 10), 0.5 - 0.01),
        # Twenty wake-ups of 40 us are nobody's doing.
        (later(0.1, 0.0008, 0.19, 20), 0.0),
        # Three threads on two cores wait for each other: no time was left that others could have had.
        (later(1.0, 1.0, 2.0, 100), 0.01),
        # The waiting of all threads adds up, to no more than all of the time.
        (later(0.004, 0.007, 0.0, 2), 1.0),
        (later(0.0, 0.0, 0.0), 0.0),
    ],
)
def test_the_share_that_others_took(after: Waits, share: float) -> None:
    assert others_share(START, after) == pytest.approx(share, abs=1e-9)


def test_where_nothing_is_known_of_waiting_nothing_is_disturbed() -> None:
    assert others_share(Waits(0.0), Waits(1.0, 0.9)) == 0.0


def test_a_disturbed_sample_is_taken_again_until_patience_ends() -> None:
    patience = Patience(0.25)
    verdicts = [patience.admit(share, 0.1) for share in (0.0, 0.5, 0.01, 0.5, 0.5, 0.5)]
    # 0.3 s were thrown away, the last 0.1 when 0.05 were left: then it counts, with a flag.
    assert verdicts == [False, None, False, None, None, True]


def test_undisturbed_samples_alone_count_where_they_are_enough() -> None:
    assert undisturbed([1, 9, 2, 9], [False, True, False, True], 7) == ([1, 2], 0.0)
    assert undisturbed([1, *[9] * 20, *[2] * 6], [False, *[True] * 20, *[False] * 6], 7) == (
        [1, *[2] * 6],
        0.0,
    )
    samples, share = undisturbed([1, 9, 9, 9], [False, True, True, True], 7)
    assert samples == [1, 9, 9, 9] and share == 0.75


def test_readings_are_repeated_until_enough_of_them_were_left_alone() -> None:
    preemptions = iter([0, 1, 1, 1, 1, 2, 2, 2])  # before and after each reading: of four, two are hit
    readings = iter([9.0, 1.0, 9.5, 2.0])
    found = calm(lambda: next(readings), lambda: Waits(preemptions=next(preemptions)), wanted=2, tries=9)
    assert found == ([1.0, 2.0], True)
    count = iter(range(99))
    readings = iter([3.0, 4.0, 5.0])
    never = calm(lambda: next(readings), lambda: Waits(preemptions=next(count)), wanted=2, tries=3)
    assert never == ([3.0, 4.0, 5.0], False)


def test_a_trial_says_in_words_what_disturbed_it() -> None:
    assert disturbance_words({"others_share": 0.9}) == ""  # its samples that count were left alone
    metrics = {"disturbed_share": 1.0, "others_share": 0.5, "throttled_periods": 12.0, "steal_share": 0.2}
    words = disturbance_words(metrics)
    assert "50%" in words and "12 periods" in words and "20%" in words
    assert is_disturbed(metrics) and not is_disturbed({"others_share": DISTURBED + 1})


def test_more_than_the_peak_is_doubted_unless_fewer_operations_explain_it() -> None:
    assert peak_remark(1.04, 1.0) == "" and not doubtful(1.04, 1.0)
    assert doubtful(1.06, 1.0) and "cannot be" in peak_remark(1.06, 1.0)
    assert not doubtful(2.0, 2.25) and "2.25 times fewer" in peak_remark(2.0, 2.25)
    assert doubtful(5.0, 2.25) and "222%" in peak_remark(5.0, 2.25)
    assert peak_remark(None, 1.0) == "" and not doubtful(None, 1.0)
