"""The stream of an evaluator's outcomes, made whole: each job has one outcome, in the order they come."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from tuner.core.measurement import Evidence, Measurement, Status
from tuner.engine.candidate.evaluator import Evaluated, Evaluator, Standing, TrialJob

_LOST = "no outcome came back from the evaluator, asked twice"


def outcomes(
    evaluator: Evaluator, jobs: Sequence[TrialJob], standing: Standing, note: Callable[[str], None]
) -> Generator[tuple[TrialJob, Evaluated], None, None]:
    """Every job once, with its outcome.

    A second outcome of a job is dropped: the first one is stored by then. Jobs whose outcome does not come
    are asked for once more, and then are the machine's failure (status `environment`).

    Args:
        evaluator: is asked.
        jobs: what for.
        standing: of the sweep.
        note: is told of what was lost or dropped.

    Raises:
        MachineFault: the evaluator's.
    """
    open_jobs = {job.ticket: job for job in jobs}
    for again in (False, True):
        if not open_jobs:
            return
        if again:
            note(f"the outcomes of {len(open_jobs)} candidates were lost: they are asked for again")
        # Left early (Ctrl-C), the evaluator lets go what it has built.
        with closing(_stream(evaluator, list(open_jobs.values()), standing)) as stream:
            for outcome in stream:
                job = open_jobs.pop(outcome.ticket, None)
                if job is None:
                    note(f"a second outcome of proposal {outcome.ticket} came and was dropped")
                    continue
                yield job, outcome
    for job in open_jobs.values():
        yield job, Evaluated(job.ticket, Measurement(Status.ENVIRONMENT, Evidence.MEASURED, error=_LOST))


def _stream(
    evaluator: Evaluator, jobs: Sequence[TrialJob], standing: Standing
) -> Generator[Evaluated, None, None]:
    yield from evaluator.evaluate(jobs, standing)
