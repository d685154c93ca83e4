"""Runs what waits: one batch at a time on all cores, models in turn by their shares.

Of the models whose batch is due, the one runs next that had the least of the machine's time by its share.
That is start-time fair queueing (Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996): a model
that had nothing to do does not save up time for later. A batch that runs is never interrupted.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tuner.core.brief import brief
from tuner.model.serving.protocol import Refused
from tuner.model.serving.statistics import Execution
from tuner.model.serving.waiting import Job, Outcome, Waiting


class Scheduler:
    """Queues of all models and the one thread that runs them.

    Args:
        models: by name.
    """

    def __init__(self, models: Mapping[str, Waiting]) -> None:
        self.models = models
        self._changed = threading.Condition()
        self._draining = False
        self._virtual_s = 0.0
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)

    @property
    def draining(self) -> bool:
        """Whether nothing more is taken in."""
        return self._draining

    def start(self) -> None:
        """Begins to run what waits."""
        self._thread.start()

    def drain(self) -> None:
        """Takes nothing more in; what waits is run at once, and then the thread ends."""
        with self._changed:
            self._draining = True
            self._changed.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits until all is done; whether it is."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, waiting: Waiting, job: Job) -> None:
        """Takes a request in, from any thread.

        Raises:
            Refused: with 429 where too much waits for the model, with 503 while draining.
        """
        with self._changed:
            if self._draining:
                raise Refused(503, "the server is about to end")
            idle = not len(waiting)
            waiting.add(job)
            if idle:
                waiting.virtual_s = max(waiting.virtual_s, self._virtual_s)
            if idle or waiting.full:
                # Others change nothing of when a batch is due.
                self._changed.notify()

    def drop(self, waiting: Waiting, job: Job) -> bool:
        """Takes out a request that nobody waits for; whether it had not begun to run."""
        with self._changed:
            return waiting.drop(job)

    def _next(self) -> tuple[Waiting, Sequence[Job]] | None:
        """The next batch, once one is due; `None` at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {name: w.due_s(self._draining) for name, w in self.models.items()}
                ready = [self.models[name] for name, when in due.items() if when <= now]
                if ready:
                    waiting = min(ready, key=lambda w: w.virtual_s)
                    self._virtual_s = waiting.virtual_s
                    return waiting, waiting.take()
                if self._draining:
                    return None
                first = min(due.values(), default=float("inf"))
                self._changed.wait(None if first == float("inf") else first - now)

    def _work(self) -> None:
        while (found := self._next()) is not None:
            waiting, jobs = found
            began = time.monotonic()
            self._run(waiting, jobs, began)
            with self._changed:
                waiting.took(sum(job.rows for job in jobs), time.monotonic() - began)

    def _run(self, waiting: Waiting, jobs: Sequence[Job], began: float) -> None:
        """Runs a batch and tells each request its rows."""
        try:
            outputs, execution = run_batch(waiting, jobs, began)
        except Exception as error:
            if len(jobs) > 1:
                # One request's inputs may be what fails (an index out of range): the others' are not.
                for job in jobs:
                    self._run(waiting, [job], began)
                return
            waiting.statistics.failed(time.monotonic() - jobs[0].came_s)
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            _tell(jobs[0].done, Refused(500, f"the model failed on these inputs: {brief(said, 300)}"))
            return
        ended = time.monotonic()
        waiting.statistics.executed(execution, [(began - j.came_s, ended - j.came_s) for j in jobs])
        for job, found in zip(jobs, outputs, strict=True):
            _tell(job.done, found)


def _tell(done: Callable[[Outcome], None], outcome: Outcome) -> None:
    try:
        done(outcome)
    except RuntimeError:
        pass  # whoever asked is gone, and its event loop with it


def run_batch(
    waiting: Waiting, jobs: Sequence[Job], began: float
) -> tuple[list[dict[str, np.ndarray]], Execution]:
    """Runs requests as one batch.

    Returns:
        The outputs of each, copies that no later run writes to; and what it took.
    """
    model = waiting.model
    rows = sum(job.rows for job in jobs)
    inputs, prepared = model.gather([job.arrays for job in jobs], rows)
    gathered = time.monotonic()
    outputs = model.run(prepared, inputs)
    ran = time.monotonic()
    names = [tensor.name for tensor in model.signature.outputs]
    found, place = [], 0
    for job in jobs:
        part = slice(place, place + job.rows) if model.signature.most_rows else ...
        found.append(
            {name: np.array(array[part]) for name, array in zip(names, outputs, strict=True)}
        )  # fmt: skip
        place += job.rows
    return found, Execution(rows, prepared, gathered - began, ran - gathered, time.monotonic() - ran)
