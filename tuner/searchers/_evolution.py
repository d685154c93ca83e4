"""MetaSchedule's search, driven from outside: TVM proposes and learns, somebody else builds and measures."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tuner.core.quick_stack import quick_stack
from tuner.core.trace_space import trace_text

# What MetaSchedule's own callback stores for a candidate that failed.
_FAILED_S = 1e10
# Schedules a generation. MetaSchedule's own 512 makes a round take 11 s of CPU time (512^3 GEMM), while
# building and measuring its 32 candidates takes 4 s.
POPULATION = 256
# A space of a few schedules is empty in the search's eyes after so many rounds without a new one.
_FRUITLESS = 3


def import_tvm() -> None:
    """Imports all that a search needs: 3 to 8 s."""
    with quick_stack():
        import tvm.s_tir.tensor_intrin
    import tvm.s_tir.meta_schedule
    import tvm.script.parser  # noqa: F401
    import xgboost  # noqa: F401


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """MetaSchedule's cost model draws its first scores from NumPy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _extractor(module: Any, target: Any) -> Any:
    """MetaSchedule's features of a schedule, computed on all cores: nothing is drawn there."""
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    inner = ms.feature_extractor.PerStoreFeature()
    wide = ms.TuneContext(module, target=target, num_threads=len(os.sched_getaffinity(0)))

    @derived_object
    class Extractor(ms.feature_extractor.PyFeatureExtractor):  # type: ignore[misc]
        def extract_from(self, context: Any, candidates: Any) -> Any:
            return inner.extract_from(wide, candidates)

    return Extractor()


class Evolution:
    """Evolutionary search over the schedules that MetaSchedule's rules make of a program.

    Mutation on one thread: with several, what a thread draws depends on which is faster, and equal seeds
    would not give equal proposals.

    Args:
        program: TVMScript of a module with one function.
        target: TVM's target, as plain values.
        seed: of all its draws.
        batch: candidates a round.
        warm_up: outcomes before the cost model is believed.
        budget: candidates in all; the search stops by itself after them.
        population: schedules a generation.
    """

    def __init__(
        self, program: str, target: Mapping[str, Any], seed: int, batch: int, warm_up: int, budget: int,
        population: int = POPULATION,
    ) -> None:  # fmt: skip
        import_tvm()
        import tvm
        from tvm.s_tir import meta_schedule as ms

        self._seed, self._rounds = seed, 0
        self._module = tvm.script.from_source(program)
        self._target = tvm.target.Target(dict(target))
        logger = logging.getLogger("tuner.metaschedule")
        logger.setLevel(logging.ERROR)  # it tells of every round
        self._context = ms.TuneContext(
            self._module, target=self._target, space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(population_size=population), num_threads=1,
            rand_state=seed % (2**31 - 2) + 1, logger=logger,
        )  # fmt: skip
        # TVM renames the function and its attributes: the search is about this form.
        self._module = self._context.mod
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._module)
        config = ms.cost_model.xgb_model.XGBConfig(nthread=1)
        extractor = _extractor(self._module, self._target)
        self._model = ms.cost_model.XGBModel(extractor=extractor, config=config, num_warmup_samples=warm_up)
        self._context.pre_tuning(
            budget, batch, self._context.generate_design_space(), self._database, self._model
        )
        self._candidates: dict[str, Any] = {}

    def propose(self) -> list[str]:
        """The traces of the next round, canonical texts; empty when the search has come to an end."""
        for attempt in range(_FRUITLESS):
            with _numpy_seeded(self._seed * 1009 + self._rounds * _FRUITLESS + attempt):
                found = self._context.generate_measure_candidates()
            if found is None:
                return []
            if len(found):
                break
        else:
            return []
        self._rounds += 1
        texts = {}
        for candidate in found:
            texts[trace_text(candidate.sch.trace)] = candidate
        self._candidates.update(texts)
        return list(texts)

    def learn(self, outcomes: Sequence[tuple[str, Sequence[float]]]) -> None:
        """Takes outcomes into the database and the cost model.

        Args:
            outcomes: traces with seconds a call, none for a failure; those of earlier searches too.
        """
        from tvm.s_tir import meta_schedule as ms

        candidates: list[Any] = []
        results: list[Any] = []
        asked: list[int] = []
        for text, seconds in outcomes:
            candidate = self._candidates.pop(text, None)
            if candidate is not None:
                asked.append(len(candidates))
            else:
                candidate = self._replay(text)
            if candidate is None:
                continue
            candidates.append(candidate)
            error = None if seconds else "failed"
            results.append(ms.runner.RunnerResult(list(seconds) or None, error))
            record = ms.database.TuningRecord(
                candidate.sch.trace, self._workload, list(seconds) or [_FAILED_S], self._target,
                candidate.args_info,
            )  # fmt: skip
            self._database.commit_tuning_record(record)
        if candidates:
            self._model.update(self._context, candidates, results)
        if asked:
            mine = [candidates[i] for i in asked], [results[i] for i in asked]
            self._context.notify_runner_results(*mine)

    def _replay(self, text: str) -> Any:
        """The candidate of a trace that this search did not propose; `None` if it does not apply."""
        import tvm.s_tir
        from tvm.s_tir import meta_schedule as ms
        from tvm.s_tir.schedule import Trace

        schedule = tvm.s_tir.Schedule(self._module, debug_mask="none")
        try:
            Trace.apply_json_to_schedule(json.loads(text), schedule)
        except Exception:
            return None  # of another program: it teaches nothing
        return ms.search_strategy.MeasureCandidate(
            schedule, ms.arg_info.ArgInfo.from_entry_func(self._module, remove_preproc=True)
        )
