"""Evaluation on one host: candidates are built, several at a time, and run one after the other.

All are built before the first is run, unless the device leaves the CPU to the builds (`Device.shares_cpu`):
then one runs while others are built.
"""

import time
import typing
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from tuner.core.device import Device
from tuner.core.measurement import Measurement
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, Built
from tuner.engine.candidate.evaluator import Evaluated, Standing, TrialJob


class Shop(typing.Protocol):
    """Builds and measures on one device."""

    device: Device

    def build_each(self, requests: Sequence[BuildRequest]) -> Generator[Built, None, None]:
        """Builds candidates, and gives them in the order given, each when it may be measured. What was not
        taken is removed when the generator is closed."""

    def measure(
        self, workload: Workload, built: Built, incumbent_s: float | None, reference_s: float | None
    ) -> Measurement:
        """What came of a candidate."""


def in_turn(shop: Shop, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
    """The outcomes in the order of the jobs; what was built is removed, however the iterator is left."""
    with closing(shop.build_each([job.request for job in jobs])) as built:
        for job, candidate in zip(jobs, built, strict=True):
            begun = time.perf_counter()
            try:
                measurement = _measured(shop, job.request.workload, candidate, standing)
            finally:
                candidate.discard()
            rest = time.perf_counter() - begun - measurement.run_s
            yield Evaluated(job.ticket, measurement, overhead_s=candidate.overhead_s + rest)


def _measured(shop: Shop, workload: Workload, built: Built, standing: Standing) -> Measurement:
    fingerprint = shop.device.fingerprint
    if built.artifact is not None and (twin := standing.twin(fingerprint, built.artifact.digest)):
        return _as_measured(twin, built)
    return shop.measure(workload, built, standing.incumbent_s(fingerprint), standing.reference_s)


def _as_measured(twin: Trial, built: Built) -> Measurement:
    """The outcome of a trial of the same binary, with what building this one took."""
    assert built.artifact is not None
    m = twin.measurement
    metrics = {**built.artifact.metrics, "same_binary_as_trial": float(twin.id or 0)}
    return Measurement(
        m.status, m.evidence, m.samples, m.error, m.calibration, built.build_s, 0.0, m.max_error, metrics,
        m.artifact,
    )  # fmt: skip
