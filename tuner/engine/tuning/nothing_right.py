"""Sweeps in which nothing was right: the commonest reason, in one line each."""

import re
from collections import Counter
from collections.abc import Iterable

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.measurement import TIMED_STATUSES
from tuner.engine.tuning.campaign_outcome import CampaignOutcome
from tuner.engine.tuning.request import SweepResult

_NUMBER = re.compile(r"\d+")
_LONGEST = 200


class NothingRight(TunerError):
    """Not one candidate of a workload was right; the message is the commonest reason.

    Attributes:
        outcome: what the campaign found all the same.
    """

    def __init__(self, outcome: CampaignOutcome) -> None:
        super().__init__("; ".join(reasons([outcome])))
        self.outcome = outcome


def is_right(result: SweepResult) -> bool:
    """Whether a sweep found anything that computes what it should."""
    return any(trial.measurement.status in TIMED_STATUSES for trial in result.trials)


def commonest(result: SweepResult) -> str:
    """How most trials of a sweep failed, and the first line of the first of them."""
    if not result.trials:
        return "nothing was tried"
    # Lines and addresses differ from candidate to candidate and the reason does not.
    lines = [
        (str(t.measurement.status), (t.measurement.error.splitlines() or [""])[0]) for t in result.trials
    ]
    kinds = [(status, _NUMBER.sub("#", line)) for status, line in lines]
    kind, count = Counter(kinds).most_common(1)[0]
    status, line = lines[kinds.index(kind)]
    return f"{count} of {len(lines)} ended as {status}: {line[:_LONGEST]}"


def reasons(outcomes: Iterable[CampaignOutcome]) -> list[str]:
    """One line for each sweep that was not interrupted and in which nothing was right."""
    return [
        f"{outcome.workload.key}: nothing of {name} was right: {commonest(result)}"
        for outcome in outcomes
        for name, result in outcome.sweeps.items()
        if not (outcome.interrupted or is_right(result))
    ]


def has_failed(outcome: CampaignOutcome) -> bool:
    """Whether what was asked for is missing: tuned kernels took part and none of them is right.

    Without a tuned kernel: no library is right either. An interrupted campaign has not failed.
    """
    if outcome.interrupted or not outcome.sweeps:
        return False
    kernels = registry.kernels()
    tuned = [r for name, r in outcome.sweeps.items() if not (name in kernels and kernels[name].baseline)]
    return not any(is_right(r) for r in tuned or outcome.sweeps.values())
