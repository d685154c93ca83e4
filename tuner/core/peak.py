"""Results above the measured peak of the processor: what is said of them, and when they are not believed."""

BELIEVED = 1.05
"""Shares of the peak up to here are within what peaks of one run differ by; what is above is held again."""


def share_of_peak(flops: float, seconds: float, peak: float | None) -> float | None:
    """Operations of the definition a second over the peak's; `None` where no peak is known."""
    return flops / seconds / peak if peak else None


def doubtful(share: float | None, fewer: float) -> bool:
    """Whether more than the peak was reached with the operations that were really done.

    Args:
        share: of the peak, by the operations that the definition counts.
        fewer: times fewer operations that the algorithm does (`Kernel.fewer_operations`).
    """
    return share is not None and share / fewer > BELIEVED


def peak_remark(share: float | None, fewer: float) -> str:
    """What is said beside a share of the peak above 105%; empty for any other."""
    if share is None or share <= BELIEVED:
        return ""
    if not doubtful(share, fewer):
        return (
            f"above the measured peak by the operations that the definition counts: it may do up to "
            f"{fewer:g} times fewer (Winograd)"
        )
    return (
        f"faster than the measured peak ({100 * share / fewer:.0f}%), which cannot be: the machine was "
        "slower while the peak was measured, or this time is wrong"
    )
