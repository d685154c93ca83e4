"""Failed trials by kernel and status, each with its commonest reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.measurement import Status
from tuner.report.html.section import Swept
from tuner.report.text import first_line, safe

WORDS = {
    Status.OK: "right",
    Status.PRUNED: "right, dropped early as far behind",
    Status.INFEASIBLE: "impossible: a constraint that only lowering sees",
    Status.BUILD_ERROR: "did not compile",
    Status.BUILD_TIMEOUT: "compiled for too long",
    Status.OVER_RESOURCES: "needs more than the device has",
    Status.RUN_ERROR: "failed while running",
    Status.RUN_TIMEOUT: "ran for too long",
    Status.CRASH: "crashed",
    Status.WRONG_RESULT: "wrong result",
    Status.ENVIRONMENT: "the machine failed, not the candidate",
}
"""What a status means."""

_RIGHT = (Status.OK, Status.PRUNED)


@dataclass(frozen=True)
class Failure:
    """The failures of one kernel that ended alike.

    Attributes:
        kernel, status: which.
        words: what the status means.
        count, share: how many trials, of all of the kernel.
        reason: the commonest first line of their errors, among the trials looked at.
        of_reason: how many of them say so.
        looked_at: how many errors were read.
    """

    kernel: str
    status: str
    words: str
    count: int
    share: float
    reason: str
    of_reason: int
    looked_at: int


def status_words(status: str) -> str:
    """What a status means; itself for one that is not known."""
    return WORDS.get(status, status)  # type: ignore[call-overload, no-any-return]


def failures(kernels: Sequence[Swept]) -> list[Failure]:
    """The failures of each kernel, the most frequent first."""
    found = []
    for kernel in kernels:
        for status, count in sorted(kernel.statuses.items(), key=lambda item: -item[1]):
            if status in _RIGHT:
                continue
            errors = [line.error for line in kernel.lines if line.status == status]
            reasons = Counter(safe(first_line(error)) for error in errors)
            reason, times = reasons.most_common(1)[0] if reasons else ("", 0)
            found.append(
                Failure(
                    kernel.name,
                    status,
                    status_words(status),
                    count,
                    count / max(kernel.trials, 1),
                    reason,
                    times,
                    len(errors),
                )
            )
    return found
