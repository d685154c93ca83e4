"""A measurement that was cut off goes on where it was, and never mixes settings."""

from pathlib import Path

import pytest

from tuner.core.errors import TunerError
from tuner.lab.kept_steps import Figures, KeptSteps


def test_what_is_done_is_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, measured = tmp_path / "steps.json", list[str]()

    def step(steps: KeptSteps, name: str) -> Figures | None:
        def measure() -> Figures:
            measured.append(name)
            return {"ratio": 0.5, "rows": 8}

        return steps.step(name, measure, ("ratio",))

    first = KeptSteps(path, {"batch": 8}, None)
    assert step(first, "a") == {"ratio": 0.5, "rows": 8}
    again = KeptSteps(path, {"batch": 8}, None)
    assert step(again, "a") == step(again, "b") == {"ratio": 0.5, "rows": 8}
    assert measured == ["a", "b"]
    said = capsys.readouterr().err
    assert "a, 0 s: ratio 0.5\n" in said and "1 steps are done already" in said
    late = KeptSteps(path, {"batch": 8}, 0.0)
    assert step(late, "a") is not None and step(late, "c") is None
    assert late.left == ["c"] and measured == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"setting": {}, "done": {"a": 1}}', '{"setting": 1, "done": 2}']
)
def test_what_is_no_file_of_steps_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "steps.json"
    path.write_text(text)
    with pytest.raises(TunerError, match="keeps no steps of a measurement: name another file"):
        KeptSteps(path, {}, None)


def test_steps_of_another_setting_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    KeptSteps(path, {"batch": 8}, None).step("a", dict)
    with pytest.raises(TunerError, match="another setting"):
        KeptSteps(path, {"batch": 4}, None)
