"""The default: picks a searcher by budget, size of the space and history, and says why."""

from collections.abc import Sequence

from tuner.core.searcher import Observation, Problem, Searcher
from tuner.core.space import Config
from tuner.searchers.genetic import GeneticSearcher
from tuner.searchers.grid import GridSearcher
from tuner.searchers.model.surrogate import SurrogateSearcher
from tuner.searchers.transfer.sources import find_sources
from tuner.searchers.transfer.transfer import TransferSearcher


def choose_searcher(problem: Problem) -> tuple[type[Searcher], str]:
    """The searcher for a problem, and the reason in one line."""
    size, budget = problem.space.size, problem.budget
    if size is not None and budget is not None and size <= budget:
        if size == 1:
            return GridSearcher, "grid: there is one configuration"
        return GridSearcher, f"grid: all {size} configurations fit into {budget} trials"
    missing = SurrogateSearcher.unavailable()
    if missing:
        return GeneticSearcher, f"genetic: surrogate would find more, but {missing}"
    count = f"{size:,}" if size is not None else "uncounted"
    trials = f"{budget} trials" if budget is not None else "an open budget"
    if problem.history:
        sources, refused = find_sources(problem)
        if sources:
            nearest = sources[0].label
            more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
            return TransferSearcher, f"transfer: the store knows this kernel from {nearest}{more}"
        if refused:
            why = f"surrogate: {count} configurations, {trials}; history not used: {refused[0]}"
            return SurrogateSearcher, why
    return SurrogateSearcher, f"surrogate: {count} configurations, {trials}, no history"


class AutoSearcher(Searcher):
    """Hands the whole sweep to the searcher that `choose_searcher` picks; `why` says which, and why."""

    name = "auto"
    wants_history = True
    chooses = True
    summary = "picks grid, transfer or surrogate by budget, size of the space and history"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        kind, self.why = choose_searcher(problem)
        self.chosen = kind(problem)
        self.own_order, self.foresight = self.chosen.own_order, self.chosen.foresight

    def ask(self, n: int) -> list[Config]:
        """As the chosen one."""
        return self.chosen.ask(n)

    def tell(self, observations: Sequence[Observation]) -> None:
        """As the chosen one."""
        self.chosen.tell(observations)
