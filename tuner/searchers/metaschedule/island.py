"""One of several populations that MetaSchedule evolves side by side."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.errors import InvalidConfig
from tuner.core.trace_space import trace_text
from tuner.searchers.metaschedule.copies import vectorize_copies
from tuner.searchers.metaschedule.gpu_draws import GpuDraws, limits_known, seeded_database

# Where a generation begins from draws that keep a GPU's limits there is nothing left to sample, and two
# generations do: most mutations of a GPU's schedule break a limit, and each attempt takes 10 to 50 ms.
_DRAWN = {
    "init_measured_ratio": 1.0, "init_min_unmeasured": 0, "genetic_num_iters": 2, "genetic_max_fail_count": 3,
}  # fmt: skip
# Behind all that was measured, and short of the 1e10 that stands for a failure.
_DRAWN_S = 1e9
# After this many rounds without a new schedule a small space counts as exhausted.
_FRUITLESS = 3


def ranking(model: Any, guard: threading.Lock, seed: int) -> Any:
    """MetaSchedule's cost model as one population asks it: random scores, drawn here, until it is trained.

    Left to itself the model would draw them from NumPy's global generator, which all populations share.

    Args:
        model: an `XGBModel`, trained by somebody else.
        guard: held while it predicts.
        seed: of the random scores.
    """
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    draws = np.random.default_rng(seed)
    extractor = ms.feature_extractor.PerStoreFeature()

    @derived_object
    class Ranking(ms.cost_model.PyCostModel):  # type: ignore[misc]
        def predict(self, context: Any, candidates: Any) -> Any:
            if model.booster is None or model.data_size < model.num_warmup_samples:
                return draws.uniform(size=len(candidates))
            features = [f.numpy().astype("float32") for f in extractor.extract_from(context, candidates)]
            with guard:
                return model._predict(xs=features).astype("float64")

    return Ranking()


@dataclass(frozen=True)
class Rounds:
    """How a population is evolved.

    Attributes:
        batch: candidates a round.
        budget: candidates in all; the search stops by itself after them.
        strategy: settings of `EvolutionarySearch`.
    """

    batch: int
    budget: int
    strategy: Mapping[str, Any]


class Island:
    """A population with draws of its own. One thread at a time may use it.

    Mutation on one thread: with several, what a thread draws depends on which is faster, and equal seeds
    would not give equal proposals.

    Args:
        module: the program, normalized by a `TuneContext`.
        target: TVM's target.
        seed: of all its draws.
        rounds: how it is evolved.
        database: of the program's records, shared.
        model: see `ranking`.
        logger: of the context.
    """

    def __init__(
        self, module: Any, target: Any, seed: int, rounds: Rounds, database: Any, model: Any, logger: Any
    ) -> None:
        from tvm.s_tir import meta_schedule as ms

        drawn = limits_known(target)
        self._vectorize = str(target.kind) == "llvm"
        strategy = {**rounds.strategy, **(_DRAWN if drawn else {})}
        self.context = ms.TuneContext(
            module, target=target, space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(**strategy), num_threads=1,
            rand_state=seed % (2**31 - 2) + 1, logger=logger,
        )  # fmt: skip
        designs = self.context.generate_design_space()
        if drawn:
            workload = database.commit_workload(module)
            arguments = ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=True)

            def record(schedule: Any) -> Any:
                return ms.database.TuningRecord(schedule.trace, workload, [_DRAWN_S], target, arguments)

            database = seeded_database(database, GpuDraws(self.context, designs, seed), record)
        self.context.pre_tuning(rounds.budget, rounds.batch, designs, database, model)

    def propose(self) -> dict[str, Any]:
        """The candidates of the next round by their traces, canonical texts; none at the search's end."""
        for _ in range(_FRUITLESS):
            found = self.context.generate_measure_candidates()
            if found is None:
                break
            if len(found):
                return {text: candidate for candidate in found if (text := self._text(candidate.sch))}
        return {}

    def _text(self, schedule: Any) -> str | None:
        """The trace to build, `None` if it may not be; the search goes on from the schedule as it made it."""
        if self._vectorize:
            schedule = schedule.copy()
            vectorize_copies(schedule)
        try:
            return trace_text(schedule.trace)
        except InvalidConfig:
            return None  # of a rule that somebody registered: see `tuner.core.trace_rules`

    def notify(self, candidates: Sequence[Any], results: Sequence[Any]) -> None:
        """The outcomes of what it proposed."""
        self.context.notify_runner_results(list(candidates), list(results))
