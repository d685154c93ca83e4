"""`make bench` as a whole."""

import sys
from pathlib import Path

import pytest

from tuner.core.errors import TunerError
from tuner.lab import bench


def test_a_part_that_fails_is_no_goal_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[bench.Figure]:
        raise TunerError("nobody answers")

    monkeypatch.setattr(bench, "command_line", broken)
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "cli", "--output", str(tmp_path)])
    assert bench.main() == 1
    told = capsys.readouterr().out
    assert "nobody answers" in told and "cli (not measured)" in told and "every goal" not in told
