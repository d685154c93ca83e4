"""What a sweep needs of whoever builds and judges its candidates: here, on paper, or on other hosts."""

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuner.core.artifact import Toolchain
from tuner.core.device import Device
from tuner.core.measurement import Measurement
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest
from tuner.store.records import DeviceInfo


@dataclass(frozen=True)
class TrialJob:
    """One candidate of a sweep.

    Attributes:
        ticket: names the candidate within its sweep; tickets grow in the order of the proposals.
        request: what to build.
    """

    ticket: int
    request: BuildRequest


@dataclass(frozen=True)
class Place:
    """Where a candidate was built and run.

    Attributes:
        host: its name, for people.
        device: what ran the candidate.
        toolchain: what built it.
    """

    host: str
    device: DeviceInfo
    toolchain: Toolchain


@dataclass(frozen=True)
class Evaluated:
    """What came of a job.

    Attributes:
        ticket: of the job.
        measurement: its outcome, failures included.
        place: where; `None` for this host, the evaluator's `device` and this host's toolchain.
        overhead_s: seconds spent on it beyond compiling and running.
    """

    ticket: int
    measurement: Measurement
    place: Place | None = None
    overhead_s: float = 0.0


class Standing(typing.Protocol):
    """What a sweep has found so far; asked when a candidate's turn comes, since it changes with each outcome.

    Attributes:
        reference_s: seconds of the calibration kernel that this host's times are related to; `None` where
            none is run.
    """

    reference_s: float | None

    def incumbent_s(self, fingerprint: str) -> float | None:
        """Seconds of the fastest right candidate on a device: far slower ones are dropped after one call."""

    def twin(self, fingerprint: str, artifact: str) -> Trial | None:
        """A trial of the same binary on a device: equal binaries are measured once."""


class Evaluator(typing.Protocol):
    """`Workshop` measures on this host, `CompileShop` compiles and predicts.

    Attributes:
        device: what the sweep is stored as being of. An evaluator with several hosts names one of theirs.
        protocol: how candidates are timed.
        target: what candidates are built for.
        jobs: candidates that are built at a time; a sweep asks for twice as many or more.
    """

    device: Device
    protocol: Protocol
    target: Target
    jobs: int

    def prepare(self, operator: Operator, workload: Workload, companions: bool = True) -> None:
        """Makes ready for a workload."""

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        """Outcomes as they come, in any order; leaving the iterator early drops the rest.

        A job whose outcome is lost is left out: the sweep asks for it again, once. A second outcome of one
        job is dropped by the sweep.

        Raises:
            MachineFault: the machine failed, and would fail every further candidate.
        """

    def stop(self) -> None:
        """Ends what is under way."""


@typing.runtime_checkable
class BuildsAhead(typing.Protocol):
    """An evaluator that can begin to build what it will be asked to evaluate."""

    def build_ahead(self, requests: Sequence[BuildRequest]) -> None:
        """Begins, where that disturbs no measurement; returns at once."""
