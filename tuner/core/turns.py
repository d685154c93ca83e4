"""What an entry of a final was timed at, by the process it ran in.

A process can be slow, or fast, from its start to its end: the physical pages that its tensors happen to get
decide which of them share sets of a cache. Only more processes show that, not more turns in one.
"""

import statistics
from dataclasses import dataclass

from tuner.core.stats import Interval, median_interval, paired_ratio

FEWEST = 6
"""The fewest whose median has a distribution-free 95% interval: their range."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Samples of one entry of an interleaved run.

    Processes with equal numbers of two entries ran side by side, and sample i of both was taken in one round;
    an entry may have left earlier than the other.

    Attributes:
        samples: seconds of one call, in the order they were taken.
        processes: how many of them each process took, in order; empty where one process took all.

    Raises:
        ValueError: the processes took more or fewer samples than there are, or one took none.
    """

    samples: tuple[float, ...] = ()
    processes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.processes and (sum(self.processes) != len(self.samples) or min(self.processes) < 1):
            raise ValueError(f"{len(self.samples)} samples cannot be of processes that took {self.processes}")

    @property
    def by_process(self) -> tuple[tuple[float, ...], ...]:
        """The samples of each process."""
        rest, parts = self.samples, []
        for count in self.processes or (len(self.samples),):
            parts.append(rest[:count])
            rest = rest[count:]
        return tuple(parts)

    @property
    def interval(self) -> Interval | None:
        """Median seconds with a 95% interval: of processes' medians, or of samples from fewer than six
        processes, which tells nothing of other processes; `None` where there are no samples.

        Source of the two levels: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time (ISMM'13): what
        is repeated has to include the level that varies. The interval is that of `median_interval`.
        """
        if not self.samples:
            return None
        if len(self.processes) < FEWEST:
            return median_interval(self.samples)
        return median_interval([statistics.median(part) for part in self.by_process])

    def over(self, other: "Turns") -> Interval:
        """This time over another's, with a 95% interval.

        The median over processes of the ratio of medians, each taken from rounds both were in, so that what
        slows a round cancels. With fewer than six processes: `paired_ratio`.

        Raises:
            ValueError: one of them has no samples.
        """
        if min(len(self.processes), len(other.processes)) < FEWEST:
            return paired_ratio(self.samples, other.samples)
        ratios = []
        for top, bottom in zip(self.by_process, other.by_process, strict=False):
            rounds = min(len(top), len(bottom))
            ratios.append(statistics.median(top[:rounds]) / statistics.median(bottom[:rounds]))
        return median_interval(ratios)
