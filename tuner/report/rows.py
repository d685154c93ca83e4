"""The rows of a comparison: one implementation each, with ratios from paired samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tuner.core.peak import peak_remark, share_of_peak
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.core.workload import Workload


@dataclass(frozen=True)
class ComparisonRow:
    """One implementation of a workload.

    Attributes:
        implementation: what people call it; unique among the rows.
        kernel: its registered name.
        language: `cxx`, `tensorir`, `python`, ...
        config: the configuration that was timed.
        interval: seconds of one call, median with its 95% interval.
        gflops: 10^9 operations a second at the median.
        share_of_peak: of the peak measured on the device in the same session; `None` where it is not known.
        speedup_naive, speedup_library: time of the naive kernel, of the fastest library, over its own, with
            95% intervals; `None` where there is no such row, or the times were not taken side by side.
        is_baseline: a library people use.
        is_naive: the plain program that everything is compared with.
        is_winner: the fastest, told apart from every other row.
        is_tie: among the fastest, which cannot be told apart at 95%.
        evidence: what the time is worth.
        trials: proposals of its sweep; 1 for a library.
        trial_id: in the store; `None` for a row that is not stored.
        remark: on a share of the peak above 105%, or a time of a busy machine; empty otherwise.
    """

    implementation: str
    kernel: str
    language: str
    config: Config
    interval: Interval
    gflops: float
    share_of_peak: float | None = None
    speedup_naive: Interval | None = None
    speedup_library: Interval | None = None
    is_baseline: bool = False
    is_naive: bool = False
    is_winner: bool = False
    is_tie: bool = False
    evidence: str = "measured"
    trials: int = 1
    trial_id: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class RowContext:
    """What all rows of a comparison share, and every title says.

    Attributes:
        title: the experiment's.
        workload: what was computed.
        device: its name.
        threads: CPU threads.
        cache: `warm`, `cold` or `model`.
        when: of the measurement, UTC.
        flops: of one call.
        bytes: that any implementation must move.
        peak_flops: operations a second, measured; `None` where it is not known.
        bandwidth: bytes a second from memory, measured; `None` where it is not known.
        disturbed: why the final declared nothing; empty where it did.
        unfinished: the campaign was interrupted before a final could be held.
        peaks_disturbed: other programs had the cores while the peaks were measured: they may be too low.
        campaign: its number in the store; `None` for rows that are of none.
        sustained_s: seconds of load before a candidate was timed; 0 for bursts.
        clock_mhz: what the device's clock was held at; 0 where it went as it liked.
        between_bytes: of other data before each call, with a `model` cache.
    """

    title: str
    workload: Workload
    device: str
    threads: int
    cache: str
    when: datetime
    flops: int
    bytes: int = 0
    peak_flops: float | None = None
    bandwidth: float | None = None
    disturbed: str = ""
    unfinished: bool = False
    peaks_disturbed: bool = False
    campaign: int | None = None
    sustained_s: float = 0.0
    clock_mhz: int = 0
    between_bytes: int = 0

    @property
    def how(self) -> str:
        """`2 threads, warm cache, sustained 2 s, clock held at 1410 MHz`."""
        parts = [f"{self.threads} thread{'s' if self.threads != 1 else ''}", f"{self.cache} cache"]
        if self.between_bytes:
            parts.append(f"{self.between_bytes / 2**20:.0f} MiB of other data between calls")
        if self.sustained_s:
            parts.append(f"sustained {self.sustained_s:g} s")
        if self.clock_mhz:
            parts.append(f"clock held at {self.clock_mhz} MHz")
        return ", ".join(parts)

    @property
    def peak_doubt(self) -> str:
        """What is to be said of the peaks, for a line of its own; empty where they are sound."""
        if not self.peaks_disturbed or not (self.peak_flops or self.bandwidth):
            return ""
        return (
            "The peak was measured while other programs had the cores: it may be too low, and shares of it "
            "too high."
        )

    @property
    def subtitle(self) -> str:
        """Where and when: `gemm/f32/m64-n64-k64 · EPYC · 2 threads · warm cache · 2026-11-22`."""
        parts = [self.workload.key, self.device, *self.how.split(", "), f"{self.when:%Y-%m-%d}"]
        if self.disturbed:
            parts.append("disturbed: nothing is declared")
        if self.unfinished:
            parts.append("interrupted: nothing is declared")
        return " · ".join(parts)


@dataclass(frozen=True)
class Timing:
    """One implementation's samples, as a final or a sweep took them.

    Attributes:
        turns: what it was timed at in a final; none where there was no final.
        naive: whether it is what `speedup_naive` is over.
        fewer: times fewer operations than the definition counts that it may do.
        doubt: what is to be said of the time itself; empty for nothing.
    """

    implementation: str
    kernel: str
    language: str
    config: Config
    interval: Interval
    turns: Turns = field(default_factory=Turns)
    is_baseline: bool = False
    naive: bool = False
    evidence: str = "measured"
    trials: int = 1
    trial_id: int | None = None
    fewer: float = 1.0
    doubt: str = ""


def comparison_rows(
    timings: Sequence[Timing], context: RowContext, paired: bool = True
) -> list[ComparisonRow]:
    """Rows, fastest first.

    Args:
        timings: one an implementation.
        context: for operations and peak.
        paired: whether all timings were taken in one interleaved run. Only then are there
            ratios, a winner and ties: times taken minutes apart on a machine that drifts do not say.
    """
    ordered = sorted(timings, key=lambda t: t.interval.mid)
    naive = next((t for t in ordered if t.naive), None)
    library = next((t for t in ordered if t.is_baseline), None)
    rows = []
    for timing in ordered:
        gflops = context.flops / timing.interval.mid / 1e9
        share = share_of_peak(context.flops, timing.interval.mid, context.peak_flops)
        rows.append(
            ComparisonRow(
                implementation=timing.implementation,
                kernel=timing.kernel,
                language=timing.language,
                config=timing.config,
                interval=timing.interval,
                gflops=gflops,
                share_of_peak=share,
                speedup_naive=_speedup(naive, timing) if paired else None,
                speedup_library=_speedup(library, timing) if paired else None,
                is_baseline=timing.is_baseline,
                is_naive=timing is naive,
                evidence=timing.evidence,
                trials=timing.trials,
                trial_id=timing.trial_id,
                remark="; ".join(r for r in (peak_remark(share, timing.fewer), timing.doubt) if r),
            )
        )
    if not paired or len(rows) < 2:
        return rows
    first = ordered[0]
    tied = [i for i, t in enumerate(ordered) if i and _same(t, first)]
    if not tied:
        return [replace(rows[0], is_winner=True), *rows[1:]]
    return [replace(row, is_tie=i == 0 or i in tied) for i, row in enumerate(rows)]


def _speedup(reference: Timing | None, timing: Timing) -> Interval | None:
    if reference is None or not reference.turns.samples or not timing.turns.samples:
        return None
    if reference is timing:
        return Interval(1.0, 1.0, 1.0)
    return reference.turns.over(timing.turns)


def _same(timing: Timing, first: Timing) -> bool:
    ratio = _speedup(first, timing)
    return ratio is None or ratio.contains(1.0)
