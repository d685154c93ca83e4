"""Configurations proposed by a searcher from declared ranges, in place of a list."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.core.errors import InvalidSpace
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config, Parameter, SearchSpace
from tuner.core.trial import Trial
from tuner.engine.tuning import seeking
from tuner.integrations.triton.identity import config_of
from tuner.integrations.triton.ledger import Ledger
from tuner.integrations.triton.tuning import KernelCall, Trier, TuningResult, warn_of

# A pruning function that leaves out nearly everything ends a search after so many times the budget.
_PRUNED = 20
_OWN = ("num_warps", "num_stages", "num_ctas", "maxnreg")


def space_of(ranges: Any) -> SearchSpace:
    """The space of what is given in place of a list: a `SearchSpace`, or values by name.

    Raises:
        InvalidSpace: a range is no list of values, or there is none.
    """
    if isinstance(ranges, SearchSpace):
        return ranges
    if not ranges or not isinstance(ranges, Mapping):
        raise InvalidSpace(
            "a search needs ranges: give values by name, as configs={'BLOCK': [16, 32], 'num_warps': [2, 4]}"
        )
    parameters = []
    for name, values in ranges.items():
        if not isinstance(values, Sequence | range) or isinstance(values, str):
            raise InvalidSpace(f"the range of {name} is a list of values, not {values!r}")
        parameters.append(Parameter(str(name), tuple(values)))
    return SearchSpace(parameters)


def triton_config(config: Config) -> Any:
    """A configuration of the space as a `triton.Config`."""
    import triton

    own = {name: config[name] for name in _OWN if name in config}
    return triton.Config({name: value for name, value in config.items() if name not in _OWN}, **own)


def search(
    call: KernelCall,
    space: SearchSpace,
    ledger: Ledger,
    problem: Mapping[str, Any],
    keep: Callable[[Any], bool],
    check: tuple[bool, float | None] = (True, None),
) -> tuple[list[Any], TuningResult]:
    """Tries what a searcher proposes until so many configurations have outcomes: they and what came of them.

    What is stored of the kernel counts: the searcher is told of it, and it is not tried again.

    Args:
        call: of the kernel; its tensors hold afterwards what they held before.
        space: of the configurations.
        ledger: open.
        problem: `search` (the searcher's name), `trials`, `seed`.
        keep: whether the user's `early_config_prune` keeps a configuration.
        check: whether outputs are compared, and the tolerance.
    """
    if ledger.identity.evidence is Evidence.EMULATED:
        raise InvalidSpace(
            "nothing is timed in Triton's interpreter, so there is nothing to search by: give do_bench"
        )
    run = _Search(call, space, ledger, check)
    told = run.take_stored()
    numbers = {name: float(size) for name, size in ledger.identity.workload.dims}
    posed = Problem(space, int(problem["seed"]), int(problem["trials"]), workload=numbers)
    searcher = seeking.begin(str(problem["search"]), posed, [])
    searcher.tell(told)
    try:
        run.until(int(problem["trials"]), searcher, keep)
    finally:
        run.restore()
    warn_of(call.name, [(run.configs[i], run.result.trials[i]) for i in run.result.timed])
    return run.configs, run.result


class _Search:
    def __init__(
        self, call: KernelCall, space: SearchSpace, ledger: Ledger, check: tuple[bool, float | None]
    ) -> None:
        self._space, self._ledger = space, ledger
        self._make_trier: Callable[[], Trier] = lambda: Trier(call, ledger, *check)
        self._trier: Trier | None = None
        self._trusted: int | None = None
        self._budget = 0
        self._reused: list[Trial] | None = None
        self.configs: list[Any] = []
        self.result = TuningResult(where=ledger.name)

    def take_stored(self) -> list[Observation]:
        """The stored outcomes of configurations of the space, which the searcher is to be told."""
        told = []
        by_digest: dict[str, Trial] = {}
        for trial in self._ledger.history():
            by_digest[trial.key.digest] = trial
        for trial in by_digest.values():
            own = {name: trial.key.config.get(name) for name in self._space.names}
            if None in own.values() or self._space.why_invalid(own) is not None:  # type: ignore[arg-type]
                continue
            config = triton_config(own)  # type: ignore[arg-type]
            if config_of(config) == dict(trial.key.config):
                self._add(config, trial)
                told.append(Observation(own, trial.measurement))  # type: ignore[arg-type]
        return told

    def until(self, trials: int, searcher: Any, keep: Callable[[Any], bool]) -> None:
        """Proposals until so many configurations have outcomes, or no more come."""
        pruned, self._budget = 0, trials
        self._reused = list(self.result.trials.values())
        while len(self.configs) < trials and pruned <= _PRUNED * trials:
            proposed = seeking.ask(searcher, 1)
            if not proposed:
                return
            config = triton_config(proposed[0])
            if keep(config):
                place = len(self.configs)
                self._add(config, self._outcome(place, config))
                told = self.result.trials[place].measurement
            else:
                pruned += 1
                told = Measurement(
                    Status.INFEASIBLE, self._ledger.identity.evidence, error="early_config_prune left it out"
                )
            searcher.tell([Observation(proposed[0], told)])

    def restore(self) -> None:
        if self._trier is not None:
            self.result.cause = self._trier.cause
            self._trier.restore()

    def _add(self, config: Any, trial: Trial) -> None:
        self.result.trials[len(self.configs)] = trial
        self.configs.append(config)

    def _outcome(self, place: int, config: Any) -> Trial:
        flat = config_of(config)
        if self._reused is not None:
            self._ledger.begin(self._reused, {"trials": self._budget})
            self._reused = None
        stored = self._ledger.known([flat]) or self._ledger.wait_for_others([flat])
        if stored:
            return stored[0]
        if self._trier is None:
            self._trier = self._make_trier()
            self._trust(self._trier)
        self.result.timed.append(place)
        failed = self._trier.died(config) or self._trier.verify(place, config)
        if failed is not None:
            return failed
        outputs = self._trier.outputs
        # The first right one is the reference: of two that differ nobody could say which is.
        wrong = outputs.wrong(() if self._trusted is None else (self._trusted,)) if outputs else {}
        if place in wrong:
            return self._trier.wrong(config, wrong[place])
        trial, quantiles = self._trier.time(config)
        if trial.measurement.ok:
            self._trusted = place if self._trusted is None else self._trusted
            self.result.quantiles[place] = quantiles
        return trial

    def _trust(self, trier: Trier) -> None:
        right = [i for i, trial in self.result.trials.items() if trial.measurement.ok]
        if right:
            trier.trust(right[0], self.configs[right[0]])
            self._trusted = right[0]
