"""What a kernel lays out ahead of its calls, held against a second set of weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tuner.engine.judging.asked_runner import CandidateRefused, Runner
from tuner.engine.judging.challenge import Challenger
from tuner.engine.judging.dataset import Dataset
from tuner.engine.judging.whole_changes import call_after_rewriting


def verify_laid_out_anew(
    runner: Runner, data: Dataset, artifact: Mapping[str, Any], rng: np.random.Generator
) -> None:
    """One call after what is laid out ahead has changed and was laid out again: a kernel that keeps what it
    made of the first weights is wrong for a program with two matrices.

    The weights are moved, never the same ones (`Challenger.draw_whole`); the next plain call or sample has
    them as they were, laid out anew as well.

    Args:
        runner: it has loaded the artifact.
        data: of the workload.
        artifact: as plain values; one that lays out nothing is right.
        rng: the judge's own.

    Raises:
        Lost, CandidateRefused: the runner is gone, or the result is wrong.
    """
    step = artifact.get("prepare") or {"arguments": ()}
    names = [argument["name"] for argument in step["arguments"] if argument["kind"] == "tensor"]
    if not names:
        return
    challenger = Challenger(data, names, rng)
    _, problem, _ = call_after_rewriting(runner, challenger, True, names)
    if problem:
        what = f"on other {' and '.join(names)}, laid out anew, {problem}"
        raise CandidateRefused("wrong_result", f"{data.workload.key}: {what}")
