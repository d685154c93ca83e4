"""What goes into the store and what comes out of it: frozen, plain, independent of SQLAlchemy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tuner.core.device import Device
from tuner.core.kernel import Kernel
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.core.searcher import Observation
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.turns import Turns
from tuner.core.workload import Workload

SweepStatus = Literal["running", "finished", "interrupted"]
Role = Literal["candidate", "baseline"]

IMPORTED = "imported"
"""What stands where a sweep's searcher does, of a recording taken over from somebody's file."""
_RECORDED = "replay"


@dataclass(frozen=True)
class DeviceInfo:
    """A device as the store knows it.

    Attributes:
        fingerprint: identifies it; unique.
        name: for people: "AMD EPYC 9R14, 2 cores".
        kind: of device class: `cpu`, `cuda`, `emulated`, `replay`.
        target: name of its target: `cpu:avx512`.
        facts: plain values: model, cores, caches in bytes, driver.
        limits: peaks measured on it: flop/s, bytes/s.
        created_at: UTC, when the store first saw it; `None` before.
    """

    fingerprint: str
    name: str
    kind: str
    target: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime | None = None

    @classmethod
    def recorded_elsewhere(
        cls, fingerprint: str, name: str, target: str, facts: Mapping[str, Any],
        limits: Mapping[str, float] | None = None,
    ) -> "DeviceInfo":  # fmt: skip
        """The record of a device that only somebody's recording tells of."""
        return cls(fingerprint, name, _RECORDED, target, facts, dict(limits or {}))

    @property
    def recorded(self) -> bool:
        """Whether only somebody's recording tells of it."""
        return self.kind == _RECORDED

    @classmethod
    def of(cls, device: Device, limits: Mapping[str, float] | None = None) -> "DeviceInfo":
        """The record of a live device; its name is the fact `model`, else the fact `name`, else its kind."""
        facts = dict(device.facts())
        name = str(facts.get("model") or facts.get("name") or device.name)
        return cls(device.fingerprint, name, device.name, device.target.name, facts, dict(limits or {}))


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A kernel at one state of its source."""

    name: str
    digest: str
    language: str
    operator: str

    @classmethod
    def of(cls, kernel: Kernel) -> "KernelInfo":
        """The record of a registered kernel."""
        return cls(kernel.name, kernel.digest, kernel.language, kernel.operator)


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep is about to do; `begin_sweep` takes it.

    Attributes:
        target: name of the target compiled for.
        seed: of the searcher.
        budget: as the user gave it: `{"trials": 200, "seconds": 60}`.
        note: for people.
    """

    workload: Workload
    device: DeviceInfo
    kernel: KernelInfo
    target: str
    searcher: str
    seed: int
    protocol: Protocol
    budget: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def imported(self) -> bool:
        """Whether it is a recording, taken over from somebody's file, and no sweep of the lab."""
        return self.searcher == IMPORTED


@dataclass(frozen=True)
class StoredSweep:
    """A stored sweep.

    Attributes:
        status: `interrupted` also where the process that ran it is gone (`store/owners.py`).
        trials: proposals so far, reused ones included.
        reused: how many of them refer to trials of other sweeps: earlier ones of the same identity, or those
            that another device measured for this sweep (see `engine/tuning/filing.py`).
        statuses: how many ended in each status.
        best_s: time of the best trial in seconds, drift divided out; `None` while there is none.
    """

    id: int
    spec: SweepSpec
    status: SweepStatus
    started_at: datetime
    finished_at: datetime | None
    summary: Mapping[str, Any]
    trials: int = 0
    reused: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    best_s: float | None = None


@dataclass(frozen=True)
class Resumption:
    """What `--resume` finds.

    Attributes:
        sweep_id: the sweep to go on with; `None` for none.
        remarks: one line each on sweeps that are left alone or taken over, for people.
    """

    sweep_id: int | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialDetail:
    """A trial with all that surrounds it, for `show`."""

    trial: Trial
    sweep: int
    kernel: KernelInfo
    device: DeviceInfo
    toolchain: tuple[str, str, tuple[str, ...]]
    """Name, version, flags; empty texts where only the digest is known."""
    threads: int
    cache: str
    finals: tuple["FinalEntry", ...] = ()
    timer: str = ""
    """Whose stopwatch it was, see `Protocol.timer`; empty for the judge's."""


@dataclass(frozen=True)
class BestRow:
    """The best configuration of one kernel for a workload on a device, at a thread count and cache state.

    Attributes:
        time_s: seconds of one call, drift divided out, as it was ranked in its sweep.
        interval: median and 95% interval in seconds: of the last interleaved re-measurement where there
            is one (`retimed`), else of the trial's raw samples.
        evidence: what the time is worth.
        speedup: over the baseline of that re-measurement; `None` without one.
        baseline: name of the baseline's kernel.
        tie: it shares the first place of its re-measurement.
        measured_at: UTC; of the re-measurement where there is one.
        kernel: with the digest it was measured at: another digest now means the result is stale.
        toolchain: digest of what built it.
        timer: whose stopwatch it was, see `Protocol.timer`; empty for the judge's.
        between_bytes: of other data before each call, with a `model` cache.
    """

    workload: Workload
    device: DeviceInfo
    kernel: KernelInfo
    threads: int
    cache: str
    trial_id: int
    sweep_id: int
    config: Config
    target: str
    toolchain: str
    evidence: str
    time_s: float
    interval: Interval
    retimed: bool
    measured_at: datetime
    artifact: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    final_id: int | None = None
    speedup: Interval | None = None
    baseline: str | None = None
    winner: bool = False
    tie: bool = False
    timer: str = ""
    between_bytes: int = 0

    @property
    def shown_s(self) -> float:
        """Seconds of one call as people are told it, and as rows are sorted: the median of the last
        interleaved re-measurement where there is one, else the time of the sweep, drift divided out."""
        return self.interval.mid if self.retimed else self.time_s


@dataclass(frozen=True)
class HistoryGroup:
    """What is stored of one kernel for one workload on one device, for searchers that transfer.

    Attributes:
        observations: in the order they were made, the latest of each identity, failures included; their
            only sample is the time with drift divided out. None before they are read.
        protocol: digest of the protocol; times of different protocols are in different groups.
        ids: of workload, device and kernel in the store.
        sweeps: how many trials of each evidence each of its sweeps measured.
    """

    workload: Workload
    device: DeviceInfo
    kernel: KernelInfo
    target: str
    threads: int
    cache: str
    protocol: str
    ids: tuple[int, int, int]
    sweeps: Mapping[int, Mapping[str, int]]
    observations: tuple[Observation, ...] = ()

    def count(self, evidence: Collection[str]) -> int:
        """How many of its trials have one of these kinds of evidence."""
        return sum(trials for s in self.sweeps.values() for kind, trials in s.items() if kind in evidence)


@dataclass(frozen=True)
class FinalEntry:
    """One entry of a final.

    Attributes:
        trial_id: the trial measured again.
        role: `candidate` or `baseline`.
        turns: seconds of one call, by process.
        speedup: time of the final's baseline over this entry's, with its interval.
        winner: faster than every other candidate beyond doubt; at most one of `winner` and `tie`.
        tie: shares the first place.
        interval: median and 95% interval of the turns; filled in by the store.
        disturbed: why its final declares nothing; filled in by the store.
        beaten: another entry stands for its kernel; `None` where the store is to decide by the medians.
    """

    trial_id: int
    role: Role
    turns: Turns
    speedup: Interval | None = None
    winner: bool = False
    tie: bool = False
    interval: Interval | None = None
    disturbed: str = ""
    beaten: bool | None = None


@dataclass(frozen=True)
class Final:
    """An interleaved re-measurement of finalists and baselines.

    Attributes:
        baseline: the trial that speed-ups are over.
        sweep_id: where it belongs to one sweep.
        disturbed: why it declares nothing: other programs had the cores; empty for one that does.
        id, created_at: filled in by the store.
    """

    workload: Workload
    device: str
    protocol: Protocol
    entries: Sequence[FinalEntry]
    baseline: int | None = None
    sweep_id: int | None = None
    id: int | None = None
    created_at: datetime | None = None
    disturbed: str = ""


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """A failed trial, with what it takes to judge who failed.

    Attributes:
        trial_id, sweep_id: in the store.
        workload: what it was to compute.
        kernel: its name.
        status, error: as stored.
    """

    trial_id: int
    sweep_id: int
    workload: Workload
    kernel: str
    status: Status
    error: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One step of a best-so-far curve.

    Attributes:
        number: of the proposal, from 0.
        elapsed_s: seconds from the start of the sweep to the end of this trial (a reused one
            costs none; the pause before a resumption counts).
        best_s: best time so far, drift divided out; `None` before the first success.
    """

    number: int
    elapsed_s: float
    best_s: float | None
