"""What came of a trial: a closed status, how much the result is worth, and every raw sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tuner.core.stats import Interval, median_interval


class Status(StrEnum):
    """How a trial ended; nothing else can be stored."""

    OK = "ok"
    INFEASIBLE = "infeasible"  # breaks a constraint that only lowering can see
    BUILD_ERROR = "build_error"
    BUILD_TIMEOUT = "build_timeout"
    OVER_RESOURCES = "over_resources"  # built, but the target cannot hold it, or it spills
    RUN_ERROR = "run_error"  # raised, returned an error code, or ran out of memory
    RUN_TIMEOUT = "run_timeout"
    CRASH = "crash"  # died of a signal
    WRONG_RESULT = "wrong_result"  # differs from the reference, is NaN, or touched its inputs
    ENVIRONMENT = "environment"  # the machine failed (no space, a killed process), not the candidate
    PRUNED = "pruned"  # right, but dropped after one call that was far behind the incumbent


class Evidence(StrEnum):
    """What a result is worth; only `measured` on the same device answers `best` by default."""

    MEASURED = "measured"  # timed on the device
    REPLAYED = "replayed"  # served from measurements that were recorded elsewhere
    EMULATED = "emulated"  # ran in an emulator or interpreter: right or wrong, never a time
    COMPILED = "compiled"  # built: resources only
    PREDICTED = "predicted"  # a model's word


TIMED_STATUSES = frozenset({Status.OK, Status.PRUNED})
TIMED_EVIDENCE = frozenset({Evidence.MEASURED, Evidence.REPLAYED, Evidence.PREDICTED})


@dataclass(frozen=True)
class Calibration:
    """How fast the machine was around a measurement, by a kernel that never changes.

    Attributes:
        reference_s: seconds of the calibration kernel that all times of a store relate to.
        before_s, after_s: the same just before and just after the timed calls.

    Raises:
        ValueError: one is not a positive finite number.
    """

    reference_s: float
    before_s: float
    after_s: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(s) and s > 0 for s in (self.reference_s, self.before_s, self.after_s)):
            raise ValueError("every calibration time is a positive finite number of seconds")

    @property
    def drift(self) -> float:
        """How much slower than at the reference the machine was: 1.1 is 10% slower.

        By the faster of the two calibrations: what slowed only one of them was not there throughout, and
        dividing it out would make a candidate look faster than it is.
        """
        return min(self.before_s, self.after_s) / self.reference_s


@dataclass(frozen=True)
class Measurement:
    """The outcome of building and running one configuration once.

    Attributes:
        status: how it ended.
        evidence: what the outcome is worth.
        samples: seconds of one call, one entry a timed sample, in the order taken, as measured:
            drift is *not* divided out of them.
        error: the reason of a failure, the first line being the shortest true account.
        calibration: the machine's speed around the samples, where it was taken.
        build_s, run_s: seconds spent building and running (verification and timing), wall clock.
        max_error: largest deviation from the reference as a share of the tolerance; 1.0 just passes.
        metrics: numbers that describe the artifact: registers, shared memory, code size, ...
        artifact: digest of the binary; equal binaries are measured once.

    Raises:
        ValueError: the record contradicts itself: samples with a status or an evidence that cannot have
            a time, a failure with no error text, a sample that is not a positive finite number, a right
            result with an error beyond the tolerance.
    """

    status: Status
    evidence: Evidence
    samples: tuple[float, ...] = ()
    error: str = ""
    calibration: Calibration | None = None
    build_s: float = 0.0
    run_s: float = 0.0
    max_error: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifact: str = ""

    def __post_init__(self) -> None:
        if self.samples:
            if self.status not in TIMED_STATUSES:
                raise ValueError(f"status {self.status} cannot have times")
            if self.evidence not in TIMED_EVIDENCE:
                raise ValueError(f"evidence {self.evidence} cannot have times")
            if not all(math.isfinite(s) and s > 0 for s in self.samples):
                raise ValueError("every sample is a positive finite number of seconds")
        elif self.status in TIMED_STATUSES and self.evidence in TIMED_EVIDENCE:
            raise ValueError(f"status {self.status} with evidence {self.evidence} needs samples")
        if self.status is not Status.OK and self.status is not Status.PRUNED and not self.error:
            raise ValueError(f"status {self.status} needs an error text")
        if self.status is Status.OK and self.error:
            raise ValueError("status ok cannot have an error text")
        if self.status in TIMED_STATUSES and self.max_error is not None and not self.max_error <= 1:
            raise ValueError(f"status {self.status} cannot have an error of {self.max_error} tolerances")

    @property
    def ok(self) -> bool:
        """Whether the result may be used."""
        return self.status is Status.OK

    @property
    def interval(self) -> Interval | None:
        """Median and 95% interval of the raw samples in seconds; `None` where there are none."""
        return median_interval(self.samples) if self.samples else None

    @property
    def time_s(self) -> float | None:
        """Seconds of one call with drift divided out: what trials are ranked by.

        The median of the samples over `calibration.drift` (1 where there is no calibration).
        """
        interval = self.interval
        if interval is None:
            return None
        return interval.mid / (self.calibration.drift if self.calibration else 1.0)
