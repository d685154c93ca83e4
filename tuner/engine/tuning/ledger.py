"""The outcomes of a sweep, kept so that nothing but the list of events depends on the order they came in."""

from bisect import bisect_right, insort

from tuner.core.disturbance import is_disturbed
from tuner.core.measurement import Status
from tuner.core.trial import Trial


class SweepLedger:
    """Trials of a sweep by the numbers of their proposals.

    Args:
        device: fingerprint of the sweep's own device. Times of other devices, where an evaluator has several,
            do not compare with its times: they are in `trials`, and never the `best`.
        reference_s: seconds of the calibration kernel that times are related to; `None` where none is run.

    Attributes:
        best: the fastest right trial on the sweep's device; of equally fast ones the one proposed first.
        faults: how many trials the machine failed.
        disturbed: how many were timed while other programs had the cores.
    """

    def __init__(self, device: str, reference_s: float | None) -> None:
        self._device, self.reference_s = device, reference_s
        self.best: Trial | None = None
        self.faults = self.disturbed = 0
        self._rank = (0.0, 0)
        self._by_number: dict[int, Trial] = {}
        # Numbers of trials that the machine did not fail, sorted.
        self._numbers: list[int] = []
        # Seconds of the fastest right trial by device; undisturbed trials by device and artifact.
        self._incumbents: dict[str, float] = {}
        self._binaries: dict[tuple[str, str], Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order of their proposals."""
        return [trial for _, trial in sorted(self._by_number.items(), key=lambda item: item[0])]

    def __len__(self) -> int:
        return len(self._by_number)

    @property
    def tried(self) -> int:
        """How many trials count towards a budget: those that the machine failed do not."""
        return len(self._numbers)

    @property
    def since_best(self) -> int:
        """How many of them were proposed after the best one, of all where there is none."""
        if self.best is None:
            return len(self._numbers)
        return len(self._numbers) - bisect_right(self._numbers, self._rank[1])

    def add(self, number: int, trial: Trial) -> None:
        """Takes an outcome in.

        Args:
            number: of the proposal.
            trial: what came of it.
        """
        self._by_number[number] = trial
        measurement = trial.measurement
        if measurement.status is Status.ENVIRONMENT:
            self.faults += 1
            return
        insort(self._numbers, number)
        place, time_s = trial.key.device, measurement.time_s
        if measurement.ok and time_s is not None:
            self._incumbents[place] = min(time_s, self._incumbents.get(place, time_s))
            if place == self._device and (self.best is None or (time_s, number) < self._rank):
                self.best, self._rank = trial, (time_s, number)
        if is_disturbed(measurement.metrics):
            self.disturbed += 1
        elif measurement.artifact and measurement.samples:
            self._binaries.setdefault((place, measurement.artifact), trial)

    def incumbent_s(self, fingerprint: str) -> float | None:
        """Seconds of the fastest right trial on a device."""
        return self._incumbents.get(fingerprint)

    def twin(self, fingerprint: str, artifact: str) -> Trial | None:
        """An undisturbed trial of the same binary on a device: equal code runs alike."""
        return self._binaries.get((fingerprint, artifact))
