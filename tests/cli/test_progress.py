"""What a person who waits is told on stderr where it is no terminal."""

import pytest

from tuner.cli.progress import SweepProgress


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
            assert "3 finalists" in first and "cpp_packed (2 configurations), numpy" in first
            assert "27 of 27" in last
