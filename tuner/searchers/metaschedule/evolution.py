"""MetaSchedule's search, driven from outside: TVM proposes and learns, somebody else builds and measures."""

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tuner.core.quick_import import quick_import
from tuner.core.trace_space import trace_content
from tuner.searchers.metaschedule.gpu_draws import limits_known
from tuner.searchers.metaschedule.intrinsics import intrinsics
from tuner.searchers.metaschedule.island import Island, Rounds, ranking

# What MetaSchedule's own callback stores for a candidate that failed.
_FAILED_S = 1e10
# Schedules a generation, for each candidate of a round, and the least and the most of them (the most on a
# GPU, where each attempt takes 10 to 50 ms). Evolving MetaSchedule's own 512 takes 7 s of CPU time a
# round (512^3 GEMM), while building and measuring its 32 candidates takes 3 s. With rounds of 8 (64 trials,
# four seeds) populations of 32 ended at 571 to 671 us and 128 at 604 to 1240, and evolving took 3.6 s, not
# 9.3; with rounds of 32 (256 trials) the best took 559 us with 128 (mean of 7 sweeps), 572 with 256
# (of 6) and 580 with 64 (of 4).
_A_CANDIDATE, _FEWEST, _MOST, _MOST_GPU = 4, 32, 128, 64
# Populations, each evolved on a core of its own; always as many, so that proposals do not depend on the
# machine. TVM's own threads would share one population and draw in the order they happen to run.
_ISLANDS = 2
# Candidates that the populations are asked for beyond a round, as a share of it: none of them knows what the
# others proposed, in this round or before, and a fifth of what they find has been proposed.
_SPARE = 0.25


def import_tvm() -> None:
    """Imports all that a search needs but intrinsics: 1 s."""
    quick_import("tvm", "tvm.s_tir.meta_schedule", "tvm.script.parser", "xgboost")


class Evolution:
    """Evolutionary search over the schedules that MetaSchedule's rules make of a program.

    Several populations are evolved side by side. They share the database, from whose best they begin every
    round, and the cost model.

    Args:
        program: TVMScript of a module with one function.
        target: TVM's target, as plain values.
        seed: of all its draws.
        batch: candidates a round.
        warm_up: outcomes before the cost model is believed.
        budget: candidates in all; the search stops by itself after them.
        population: schedules a generation, of all populations together; by default four for each candidate of
            a round.
    """

    def __init__(
        self, program: str, target: Mapping[str, Any], seed: int, batch: int, warm_up: int, budget: int,
        population: int | None = None,
    ) -> None:  # fmt: skip
        import_tvm()
        import tvm
        from tvm.s_tir import meta_schedule as ms

        self._target = tvm.target.Target(dict(target))
        logger = logging.getLogger("tuner.metaschedule")
        logger.setLevel(logging.ERROR)  # it tells of every round
        config = ms.cost_model.xgb_model.XGBConfig(nthread=1)
        self._model = ms.cost_model.XGBModel(config=config, num_warmup_samples=warm_up)
        self._database = ms.database.MemoryDatabase()
        with intrinsics(target):
            self._context = ms.TuneContext(
                tvm.script.from_source(program), target=self._target, logger=logger,
                num_threads=len(os.sched_getaffinity(0)),
            )  # fmt: skip
            # TVM renames the function and its attributes: the search is about this form.
            self._module = self._context.mod
            self._workload = self._database.commit_workload(self._module)
            count = max(1, min(_ISLANDS, batch))
            guard = threading.Lock()
            most = _MOST_GPU if limits_known(self._target) else _MOST
            population = population or min(most, max(_FEWEST, _A_CANDIDATE * batch))
            strategy = {"population_size": max(2, population // count)}
            share = -(-int(batch * (1 + _SPARE)) // count)
            rounds = Rounds(share, budget, strategy)
            self._islands = [
                Island(
                    self._module, self._target, seed * 1009 + i, rounds, self._database,
                    ranking(self._model, guard, seed * 1009 + i), logger,
                )
                for i in range(count)
            ]  # fmt: skip
        self._batch = batch
        self._candidates: dict[str, tuple[Island, Any]] = {}
        self._known: set[str] = set()
        self._spare: deque[str] = deque()

    def propose(self) -> list[str]:
        """The traces of the next round, canonical texts; empty when the search has come to an end."""
        fresh: list[str] = []
        with ThreadPoolExecutor(len(self._islands)) as pool:
            rounds = list(pool.map(Island.propose, self._islands))
        # In turn, so that a round has as many of each population, the best first.
        for pairs in itertools.zip_longest(*(found.items() for found in rounds)):
            for island, pair in zip(self._islands, pairs, strict=True):
                if pair is not None and pair[0] not in self._known:
                    self._known.add(pair[0])
                    self._candidates[pair[0]] = island, pair[1]
                    fresh.append(pair[0])
        # What is left over is proposed where a later round is short of new ones: nothing found is lost.
        self._spare.extend(fresh[self._batch :])
        texts = fresh[: self._batch]
        while self._spare and len(texts) < self._batch:
            texts.append(self._spare.popleft())
        return texts

    def learn(self, outcomes: Sequence[tuple[str, Sequence[float]]]) -> None:
        """Takes outcomes into the database and the cost model.

        Args:
            outcomes: traces with seconds a call, none for a failure; those of earlier searches too.
        """
        from tvm.s_tir import meta_schedule as ms

        candidates: list[Any] = []
        results: list[Any] = []
        asked: dict[Island, list[int]] = {}
        for text, seconds in outcomes:
            self._known.add(text)
            island, candidate = self._candidates.pop(text, (None, None))
            if island is not None:
                asked.setdefault(island, []).append(len(candidates))
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
        for island, places in asked.items():
            island.notify([candidates[i] for i in places], [results[i] for i in places])

    def _replay(self, text: str) -> Any:
        """The candidate of a trace that this search did not propose; `None` if it does not apply."""
        import tvm.s_tir
        from tvm.s_tir import meta_schedule as ms
        from tvm.s_tir.schedule import Trace

        schedule = tvm.s_tir.Schedule(self._module, debug_mask="none")
        try:
            Trace.apply_json_to_schedule(trace_content(text), schedule)
        except Exception:
            return None  # of another program: it teaches nothing
        return ms.search_strategy.MeasureCandidate(
            schedule, ms.arg_info.ArgInfo.from_entry_func(self._module, remove_preproc=True)
        )
