"""What `tuner verify` prints: each reason once, and what differs in words that differ."""

from pathlib import Path

import pytest

from tuner.cli.verify import _print
from tuner.core.artifact import Toolchain
from tuner.core.reproduction import Mark, Reproduction
from tuner.core.stats import Interval
from tuner.engine.tuning.verification import Number, Verified


def test_a_reason_of_many_numbers_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    busy = Reproduction(Mark.UNDECIDED, why="disturbed then: others had the cores")
    own = Reproduction(Mark.NOT_HERE, why="numpy is not installed")
    then = Interval(1.0, 1.1, 1.2)
    numbers = [
        Number("gemm/f32/m8-n8-k8", 1, kernel, {}, trial, "", then, None, finding)
        for trial, (kernel, finding) in enumerate((("a", busy), ("b", busy), ("numpy", own)), 1)
    ]
    _print(Verified(tuple(numbers), 0.05), Path("result.json"))
    told = capsys.readouterr().out
    assert told.count("others had the cores") == 1 and told.count("undecided [1]") == 2
    assert "numpy is not installed" in told.split("[1] disturbed")[0], "a reason of one number is beside it"


@pytest.mark.parametrize(("when", "helps"), [("disturbed then", False), ("disturbed", True)])
def test_where_another_run_may_help_it_is_told_to(
    when: str, helps: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    then = Interval(1.0, 1.1, 1.2)
    finding = Reproduction(Mark.UNDECIDED, why=f"{when}: others had the cores")
    _print(Verified((Number("w", 1, "a", {}, 1, "", then, None, finding),), 0.05), Path("result.json"))
    told = capsys.readouterr().out
    assert ("tuner verify result.json" in told) == helps
    assert ("cannot be decided by any run" in told) != helps


def test_a_kernel_s_default_is_told_apart_from_its_tuned_configurations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    then, found = Interval(1.0, 1.1, 1.2), Reproduction(Mark.REPRODUCES, Interval(0.99, 1.0, 1.01))
    numbers = [Number("w", 1, "a", {}, trial, "", then, then, found, trial == 2) for trial in (1, 2)]
    _print(Verified(tuple(numbers), 0.05), Path("result.json"))
    told = capsys.readouterr().out
    assert "a (t1)" in told and "a (t2, default)" in told


def test_equal_versions_are_not_said_to_differ() -> None:
    now = Toolchain("python", "3.11.7", ("torch=2.13.0",))
    assert (
        now.instead_of("python 3.11.7")
        == "built by python 3.11.7 then and now, with other flags or libraries now"
    )
    assert now.instead_of("g++ 9.1") == "built by g++ 9.1 then, by python 3.11.7 now"
    assert "another toolchain then" in now.instead_of("")
