"""MetaSchedule: TVM's evolutionary search with its XGBoost cost model, over the schedules its rules make."""

from collections import deque
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.measurement import Status
from tuner.core.searcher import Observation, Problem, Searcher
from tuner.core.space import Config
from tuner.core.trace_space import PARAMETER, TraceSpace
from tuner.searchers.disturbed import Withheld

if TYPE_CHECKING:
    from tuner.searchers.metaschedule.evolution import Evolution

_BATCH, _WARM_UP = 64, 64
_UNBOUNDED = 1_000_000


class MetaScheduleSearcher(Searcher):
    """Proposes traces in rounds; a round learns from all the rounds before it.

    TVM's strategy, cost model and database run in this process; the caller of `ask` builds and measures what
    they propose. Outcomes of a round are taken in together, before the next round is made. A new searcher
    that is told a sweep's trials goes on from them: they are its database and its training data.
    """

    name = "metaschedule"
    summary = "TVM's MetaSchedule: evolutionary search, XGBoost cost model; for kernels it schedules"
    open_space = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not isinstance(problem.space, TraceSpace):
            raise InvalidSpace(
                f"searcher {self.name} schedules programs of kernels such as tir_metaschedule; this kernel's "
                "space has parameters: choose another searcher, e.g. auto"
            )
        self._space = problem.space
        budget = problem.budget or _UNBOUNDED
        # Rounds of an eighth of a short budget: the model should have its say before it is spent.
        self._round = int(problem.options.get("batch", max(8, min(_BATCH, budget // 8))))
        self.batch = self._round  # built together, so that no core waits often for the last build
        self._warm_up = int(problem.options.get("warm_up", min(_WARM_UP, 2 * self._round)))
        self._evolution: Evolution | None = None
        self._queue: deque[str] = deque()
        self._seen: set[str] = set()
        self._outcomes: list[tuple[str, tuple[float, ...]]] = []
        self._exhausted = False
        self._withheld = Withheld()

    @classmethod
    def unavailable(cls) -> str | None:
        """Whether TVM and what its cost model needs are there."""
        missing = [p for p in ("tvm", "xgboost", "psutil", "cloudpickle", "tornado") if find_spec(p) is None]
        return f"it needs the package {missing[0]}" if missing else None

    @classmethod
    def warm_up(cls) -> None:
        """Imports TVM while the builder's process does the same."""
        from tuner.searchers.metaschedule.evolution import import_tvm

        import_tvm()

    def _search(self) -> "Evolution":
        if self._evolution is None:
            from tuner.searchers.metaschedule.evolution import Evolution

            population = self.problem.options.get("population")
            self._evolution = Evolution(
                self._space.program, self._space.target, self.problem.seed, self._round, self._warm_up,
                _UNBOUNDED, None if population is None else int(population),
            )  # fmt: skip
        return self._evolution

    def ask(self, n: int) -> list[Config]:
        """Up to `n` traces of the present round; none when the search finds no new schedule."""
        chosen: list[Config] = []
        while len(chosen) < n and not self._exhausted:
            if not self._queue:
                if chosen:
                    break  # their outcomes belong to what the next round is made from
                self._refill()
                continue
            trace = self._queue.popleft()
            if trace not in self._seen:
                self._seen.add(trace)
                chosen.append({PARAMETER: trace})
        return chosen

    def _refill(self) -> None:
        search = self._search()
        if self._outcomes:
            search.learn(self._outcomes)
            self._outcomes = []
        # A resumed search does not know what it proposed in its former life.
        for _ in range(5):
            self._queue.extend(trace for trace in search.propose() if trace not in self._seen)
            if self._queue:
                return
        self._exhausted = True

    def tell(self, observations: Sequence[Observation]) -> None:
        """See `Searcher.tell`; what is no trace teaches nothing and is passed over."""
        for observation in observations:
            try:
                trace = str(self._space.check(observation.config)[PARAMETER])
            except InvalidConfig:
                continue
            self._seen.add(trace)
            if observation.measurement.status is Status.ENVIRONMENT:
                continue
            for each in self._withheld.admit(observation):
                trace, seconds = str(self._space.check(each.config)[PARAMETER]), each.value
                self._outcomes.append((trace, () if seconds is None else (seconds,)))
