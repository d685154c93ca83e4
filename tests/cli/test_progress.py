"""What a person who waits is told on stderr where it is no terminal."""

import pytest

from tuner.cli.progress import SweepProgress
from tuner.cli.searchers import RunsProgress


def test_a_final_says_that_it_is_held_and_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with SweepProgress(quiet) as progress:
            progress.final_began(["cpp_packed", "numpy", "cpp_packed"])
            for done in range(1, 28):
                progress.final_progress(done, 27)
        captured = capsys.readouterr()
        assert captured.out == ""
        if quiet:
            assert captured.err == ""
        else:
            first, last = captured.err.splitlines()
            # Why there are more rounds than were asked for.
            assert "3 finalists" in first and "each in 9 processes" in first
            assert "cpp_packed (2 configurations), numpy" in first
            assert "27 of 27" in last


def test_runs_of_searchers_say_at_once_what_is_done_and_at_the_end_that_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet in (False, True):
        progress = RunsProgress(quiet)
        progress.begin(7, 4, 10, 100)
        first = capsys.readouterr().err
        for done in range(1, 281):
            progress(done, 280)
        rest = capsys.readouterr().err
        assert ("280 runs of 100 trials" in first) != quiet
        assert bool(rest) != quiet and rest.count("\n") <= 2 and ("280 of 280 runs" in rest) != quiet
