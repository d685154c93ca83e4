"""What a runner tells, taken as the claim that it is."""

from typing import Any

from tuner.engine.building import answers
from tuner.engine.judging.asked_runner import CandidateRefused


def numbers(values: Any) -> dict[str, float]:
    """Named numbers; what is none is left out with all the rest."""
    try:
        return answers.numbers(values, "the readings")
    except answers.UnusableAnswer:
        return {}


def share(value: Any) -> float:
    """A share: of what it says nothing, nothing is known."""
    try:
        return answers.number(value, "a share", 0.0, 1.0)
    except answers.UnusableAnswer:
        return 0.0


def seconds(value: Any) -> float:
    """A time; raises `CandidateRefused` where it is none."""
    try:
        return answers.seconds(value)
    except answers.UnusableAnswer as error:
        raise CandidateRefused("wrong_result", f"unusable answer: {error}") from None
