"""Asking and telling a searcher: what it raises ends a sweep in one line that names it, in the store too."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.searcher import Observation, Problem, Searcher
from tuner.core.space import Config
from tuner.core.trial import Trial


class SearcherFailed(TunerError):
    """A searcher raised something, or proposed what is no configuration; its own error is the cause."""


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Errors inside are the searcher's; those a user can mend pass as they are.

    Raises:
        SearcherFailed: in place of any other exception.
    """
    try:
        yield
    except TunerError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
        raise SearcherFailed(f"searcher {name} failed: {what}") from error


def begin(name: str, problem: Problem, told: Sequence[Trial]) -> Searcher:
    """The searcher of a name, told what came of earlier trials.

    Raises:
        UnknownName: there is none.
        SearcherFailed: it cannot be made, or cannot take the trials.
    """
    kind = registry.searcher(name)
    with blamed(name):
        searcher = kind(problem)
    tell(searcher, told)
    return searcher


def ask(searcher: Searcher, n: int) -> list[Config]:
    """Up to `n` proposals; raises `SearcherFailed`."""
    with blamed(searcher.name):
        proposed = list(searcher.ask(n))
    if len(proposed) > n or not all(isinstance(config, Mapping) for config in proposed):
        raise SearcherFailed(f"searcher {searcher.name} failed: it did not give up to {n} configurations")
    return proposed


def tell(searcher: Searcher, trials: Sequence[Trial]) -> None:
    """What came of trials, in order; raises `SearcherFailed`."""
    with blamed(searcher.name):
        searcher.tell([Observation(t.key.config, t.measurement) for t in trials])
