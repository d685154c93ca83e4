"""Runs what waits: a batch at a time on all cores, or on each part of them; models in turn by their shares.

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
    """Queues of all models and the threads that run them, one for each instance.

    Args:
        models: by name.
        instances: that each of them has: so many batches run at a time.
    """

    def __init__(self, models: Mapping[str, Waiting], instances: int = 1) -> None:
        self.models = models
        self._changed = threading.Condition()
        self._draining = False
        self._virtual_s = 0.0
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"models {number}", daemon=True)
            for number in range(instances)
        ]

    @property
    def draining(self) -> bool:
        """Whether nothing more is taken in."""
        return self._draining

    def start(self) -> None:
        """Begins to run what waits."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Takes nothing more in; what waits is run at once, and then the threads end."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits until all is done; whether it is."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

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
                    self._virtual_s = max(self._virtual_s, waiting.virtual_s)
                    taken = waiting.take()
                    if any(map(len, self.models.values())):
                        # A thread that rests takes what is due too, or waits until the rest is.
                        self._changed.notify()
                    return waiting, taken
                if self._draining:
                    return None
                first = min(due.values(), default=float("inf"))
                self._changed.wait(None if first == float("inf") else first - now)

    def _work(self, instance: int) -> None:
        while (found := self._next()) is not None:
            waiting, jobs = found
            began = time.monotonic()
            self._run(waiting, jobs, began, instance)
            with self._changed:
                waiting.took(sum(job.rows for job in jobs), time.monotonic() - began)

    def _run(self, waiting: Waiting, jobs: Sequence[Job], began: float, instance: int) -> None:
        """Runs a batch and tells each request its rows."""
        try:
            outputs, execution = run_batch(waiting, jobs, began, instance)
        except Exception as error:
            if len(jobs) > 1:
                # One request's inputs may be what fails (an index out of range): the others' are not.
                for job in jobs:
                    self._run(waiting, [job], began, instance)
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
    waiting: Waiting, jobs: Sequence[Job], began: float, instance: int = 0
) -> tuple[list[dict[str, np.ndarray]], Execution]:
    """Runs requests as one batch.

    Returns:
        The outputs of each, copies that no later run writes to; and what it took.
    """
    model = waiting.model
    rows = sum(job.rows for job in jobs)
    inputs, prepared = model.gather([job.arrays for job in jobs], rows, instance)
    gathered = time.monotonic()
    outputs = model.run(prepared, inputs, instance)
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
