"""Serves configurations from a recorded space on a simulated clock: a sweep with no device present."""

from collections.abc import Mapping
from typing import Any, Literal

from tuner.core.measurement import Evidence, Measurement
from tuner.core.recorded import RecordedSpace
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target


class Replay:
    """What was recorded elsewhere, as if it were measured now.

    It stands where a device stands in a sweep but runs no artifact, so it is not a `Device`: `measure` takes
    a configuration and gives its recorded outcome, evidence `replayed`, and moves the clock by what compiling
    and running it took then.

    Args:
        recorded: the space.
        value: `samples` serves all recorded times (a trial's time is their median); `objective` only the
            recorder's own summary (Kernel Tuner's mean), to compare with searchers that see nothing else.
    """

    evidence = Evidence.REPLAYED

    def __init__(self, recorded: RecordedSpace, value: Literal["samples", "objective"] = "samples") -> None:
        self.recorded = recorded
        self.clock_s = 0.0
        self._objective = value == "objective"

    @property
    def space(self) -> SearchSpace:
        """The configurations that were recorded, failures included."""
        return self.recorded.space

    @property
    def target(self) -> Target:
        """Of kind `replay`: nothing can be compiled for it."""
        kind, arch = self.recorded.target.split(":")
        return Target(kind, arch, limits=dict(self.recorded.device_facts))

    @property
    def fingerprint(self) -> str:
        """Of the recorded device."""
        return self.recorded.fingerprint

    def facts(self) -> Mapping[str, Any]:
        """The device's name and its numbers."""
        return self.recorded.facts

    def measure(self, config: Config) -> Measurement:
        """The recorded outcome; the clock moves by its compile, verification and benchmark time.

        Raises:
            InvalidConfig: it was not recorded.
        """
        trial = self.recorded.outcome(config)
        self.clock_s += trial.build_s + trial.run_s
        return trial.objective_measurement if self._objective else trial.measurement
