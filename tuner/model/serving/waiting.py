"""What waits for one model: requests in the order they came, and when the next batch of them is due."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tuner.model.serving.loading import Served
from tuner.model.serving.protocol import Refused
from tuner.model.serving.statistics import Statistics

Outcome = Mapping[str, np.ndarray] | Exception
# Weight of the latest batch in the mean time of a row.
_NEWEST = 0.2


@dataclass(eq=False)
class Job:
    """A request that waits.

    Attributes:
        arrays: its inputs by name.
        rows: of them.
        done: is told the outputs, arrays of its own, or why there are none; from a thread of the scheduler.
        came_s: when, by `time.monotonic`.
    """

    arrays: Mapping[str, np.ndarray]
    rows: int
    done: Callable[[Outcome], None]
    came_s: float = field(default_factory=time.monotonic)


class Waiting:
    """A model with its queue. Not safe by itself: the scheduler holds its lock around every call.

    Args:
        model: what runs the batches.
        share: of the machine's time where several models have work.
        most_rows: that may wait; further requests are refused.
        most_delay_s: for which a request waits for others to fill its batch.

    Attributes:
        virtual_s: seconds of the machine that the model had, divided by its share; comparable between models
            that have work.
    """

    def __init__(self, model: Served, share: float, most_rows: int, most_delay_s: float) -> None:
        self.model, self.share, self.most_rows = model, share, most_rows
        self.statistics = Statistics()
        self.virtual_s = 0.0
        self.rows = 0
        self.most_delay_s = most_delay_s if model.signature.most_rows > 1 else 0.0
        self._jobs: deque[Job] = deque()
        self._row_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Takes a request in.

        Raises:
            Refused: with 429: so much waits that it would have to wait for long.
        """
        if self.rows + job.rows > self.most_rows:
            raise Refused(
                429,
                f"{self.rows} rows wait for model {self.model.name}, {self.most_rows} may: ask again later",
                retry_after_s=max(1.0, math.ceil(self.rows * self._row_s / self.model.instances)),
            )  # fmt: skip
        self._jobs.append(job)
        self.rows += job.rows

    def drop(self, job: Job) -> bool:
        """Takes a request out again that nobody waits for any more; whether it was still there."""
        try:
            self._jobs.remove(job)
        except ValueError:
            return False
        self.rows -= job.rows
        return True

    @property
    def full(self) -> bool:
        """Whether the largest batch is."""
        return self.rows >= max(self.model.signature.most_rows, 1)

    def due_s(self, draining: bool) -> float:
        """When the next batch is to run: 0 for now, infinity where nothing waits."""
        if not self._jobs:
            return math.inf
        return 0.0 if self.full or draining else self._jobs[0].came_s + self.most_delay_s

    def take(self) -> Sequence[Job]:
        """The oldest requests that are to run together, in order; as many as the model's plan says."""
        plan = self.model.plan
        most = plan[min(self.rows, len(plan) - 1)]
        taken = [self._jobs.popleft()]
        rows = taken[0].rows
        while self._jobs and rows + self._jobs[0].rows <= most:
            rows += self._jobs[0].rows
            taken.append(self._jobs.popleft())
        self.rows -= rows
        return taken

    def took(self, rows: int, seconds: float) -> None:
        """Counts what a batch cost."""
        self.virtual_s += seconds / self.share
        each = seconds / max(rows, 1)
        self._row_s = each if not self._row_s else (1 - _NEWEST) * self._row_s + _NEWEST * each
