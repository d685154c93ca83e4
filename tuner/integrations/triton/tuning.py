"""One tuning: which configuration of a list is right and the fastest, trying only what is not stored."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial
from tuner.integrations.triton.failures import ContextLost, measurement_of, raise_if_lost
from tuner.integrations.triton.identity import Identity, config_of
from tuner.integrations.triton.journal import Journal
from tuner.integrations.triton.ledger import Ledger
from tuner.integrations.triton.outputs import Outputs, Unchecked
from tuner.integrations.triton.timing import NoTime, times_of

_DIED = "the process that tried it died"


class Rejected(UserWarning):
    """A configuration gave a wrong result, or took a process with it; the kernel goes on with the others."""


class NoneRight(TunerError):
    """Every configuration failed."""


@dataclass(frozen=True)
class KernelCall:
    """A call of the user's kernel that is to be tuned.

    Attributes:
        name: of the kernel.
        arguments: by name.
        timed: of a configuration, what a benchmarker calls: launches it, with all hooks.
        attempt: of a configuration, see `outputs.Attempt`.
        do_bench: the benchmarker; `None` where nothing can be timed.
    """

    name: str
    arguments: Mapping[str, Any]
    timed: Callable[[Any], Callable[[], None]]
    attempt: Callable[[Any], AbstractContextManager[None]]
    do_bench: Any


@dataclass
class TuningResult:
    """What came of a tuning.

    Attributes:
        trials: by the place of their configuration.
        timed: places of configurations that were tried now; the others are from the store.
        quantiles: of those timed now, milliseconds, see `timing.QUANTILES`.
        where: name of the store.
        cause: what the last failure raised.
    """

    trials: dict[int, Trial] = field(default_factory=dict)
    timed: list[int] = field(default_factory=list)
    quantiles: dict[int, list[float]] = field(default_factory=dict)
    where: str = ""
    cause: Exception | None = None

    def best(self) -> int:
        """The place of the fastest right configuration; the first right one where nothing has a time.

        Raises:
            NoneRight: there is none; says what the failures were.
        """
        right = [i for i, trial in self.trials.items() if trial.measurement.ok]
        if not right:
            errors = {t.measurement.error.splitlines()[0][:160]: None for t in self.trials.values()}
            raise NoneRight(f"every configuration failed: {'; '.join(list(errors)[:3])}") from self.cause
        return min(right, key=lambda i: (self.trials[i].measurement.time_s or 0.0, i))

    def milliseconds(self, place: int) -> list[float]:
        """Times of a configuration as Triton keeps them: infinite for a failure."""
        time_s = self.trials[place].measurement.time_s
        if not self.trials[place].measurement.ok or time_s is None:
            return [float("inf")] * 3
        return self.quantiles.get(place, [time_s * 1e3] * 3)


class Trier:
    """Tries configurations of one call: whether they are right first, then how long they take.

    Args:
        call: of the kernel.
        ledger: where outcomes go.
        check: whether outputs are compared.
        tolerance: see `Outputs`.
    """

    def __init__(self, call: KernelCall, ledger: Ledger, check: bool, tolerance: float | None) -> None:
        self._call, self._ledger = call, ledger
        self._identity: Identity = ledger.identity
        self._journal = Journal()
        self.unchecked = "" if check else "it was asked not to"
        self.cause: Exception | None = None
        self.lost = False
        self.outputs: Outputs | None = None
        try:
            self.outputs = Outputs(call.arguments, tolerance) if check else None
        except Unchecked as error:
            self.unchecked = str(error)

    def restore(self) -> None:
        """The call's tensors as they were before."""
        if self.outputs is not None and not self.lost:
            self.outputs.restore()

    def trust(self, place: int, config: Any) -> None:
        """Runs a configuration that is known to be right, so that others are compared with it."""
        if self.outputs is not None:
            try:
                self.outputs.judge(place, lambda: self._call.attempt(config))
            except Exception as error:  # it was right once: now others have to do without
                self._go_on(config, error)

    def died(self, config: Any) -> Trial | None:
        """The trial of a configuration that took an earlier process with it."""
        flat = config_of(config)
        digest = self._identity.key(flat).digest
        if not self._journal.died(digest):
            return None
        trial = self._ledger.record(flat, Measurement(Status.CRASH, self._identity.evidence, error=_DIED))
        self._journal.end(digest)
        return trial

    def verify(self, place: int, config: Any) -> Trial | None:
        """Runs a configuration once; its trial where it fails."""
        if self.outputs is None:
            return None
        outputs = self.outputs
        failed = self._guarded(config, lambda: outputs.judge(place, lambda: self._call.attempt(config)))
        if failed is not None and failed.measurement.status is Status.ENVIRONMENT:
            # No memory for the copies, after all: better not compared than not tuned.
            self.restore()
            self.outputs, self.unchecked = None, "there is no memory to compare outputs"
            return None
        return failed

    def wrong(self, config: Any, reason: str) -> Trial:
        """The trial of a configuration whose outputs differ from the right ones."""
        found = Measurement(Status.WRONG_RESULT, self._identity.evidence, error=reason)
        return self._ledger.record(config_of(config), found)

    def time(self, config: Any) -> tuple[Trial, list[float]]:
        """Times a configuration: its trial, and its quantiles in milliseconds."""
        self.restore()
        began = time.perf_counter()
        if self._identity.evidence is Evidence.EMULATED:
            failed = self._guarded(config, self._call.timed(config)) if self.outputs is None else None
            right = Measurement(Status.OK, Evidence.EMULATED, run_s=time.perf_counter() - began)
            return failed or self._ledger.record(config_of(config), right), []
        found: list[tuple[tuple[float, ...], list[float]]] = []
        call = self._call.timed(config)
        failed = self._guarded(config, lambda: found.append(times_of(self._call.do_bench, call)))
        if failed is not None:
            return failed, []
        samples, quantiles = found[0]
        metrics = {f"q{q:g}_s": ms / 1e3 for q, ms in zip((50, 20, 80), quantiles, strict=False)}
        metrics["outputs_compared"] = float(self.outputs is not None)
        measurement = Measurement(
            Status.OK, self._identity.evidence, samples, run_s=time.perf_counter() - began, metrics=metrics
        )
        return self._ledger.record(config_of(config), measurement), quantiles

    def _go_on(self, config: Any, error: Exception) -> None:
        """After a failure: raises `ContextLost` where nothing can run any more, nor be restored."""
        try:
            raise_if_lost(self._identity.evidence is not Evidence.MEASURED, config, error)
        except ContextLost:
            self.lost = True
            raise

    def _guarded(self, config: Any, run: Callable[[], object]) -> Trial | None:
        """Runs something; the failed trial where it raises.

        Raises:
            ContextLost: the GPU answers no more.
        """
        flat = config_of(config)
        digest = self._identity.key(flat).digest
        self._journal.begin(digest)
        began = time.perf_counter()
        try:
            run()
            return None
        except Exception as error:
            self.cause = error
            spent = time.perf_counter() - began
            failed = measurement_of(error, spent, self._identity.evidence)
            if isinstance(error, NoTime):
                failed = Measurement(Status.RUN_ERROR, self._identity.evidence, error=str(error), run_s=spent)
            trial = self._ledger.record(flat, failed)
            self._go_on(config, error)
            return trial
        finally:
            self._journal.end(digest)


def tune_list(
    call: KernelCall,
    configs: Sequence[Any],
    ledger: Ledger,
    check: bool = True,
    tolerance: float | None = None,
) -> TuningResult:
    """The outcomes of all configurations of a list; only those are tried that the store has none of.

    Where all stored outcomes are failures they are tried again: there is nothing to lose.

    Args:
        call: of the kernel; its tensors hold afterwards what they held before.
        configs: `triton.Config`s.
        ledger: open.
        check, tolerance: see `Trier`.
    """
    flat = [config_of(config) for config in configs]
    known = ledger.known(flat)
    if len(known) == len(configs) and not any(trial.measurement.ok for trial in known.values()):
        known = {}
    result = TuningResult(dict(known), where=ledger.name)
    fresh = [i for i in range(len(configs)) if i not in known]
    if not fresh:
        return result
    ledger.begin(known.values(), {"trials": len(configs)})
    late = ledger.wait_for_others([flat[i] for i in fresh])
    result.trials |= {fresh[j]: trial for j, trial in late.items()}
    fresh = [i for i in fresh if i not in result.trials]
    if fresh:
        _try_all(call, configs, fresh, Trier(call, ledger, check, tolerance), result)
    warn_of(call.name, [(configs[i], result.trials[i]) for i in fresh])
    return result


def _try_all(
    call: KernelCall, configs: Sequence[Any], fresh: Sequence[int], trier: Trier, result: TuningResult
) -> None:
    right = [i for i, trial in result.trials.items() if trial.measurement.ok]
    result.timed = list(fresh)
    try:
        if right:
            trier.trust(right[0], configs[right[0]])
        alive = []
        for i in fresh:
            failed = trier.died(configs[i]) or trier.verify(i, configs[i])
            if failed is None:
                alive.append(i)
            else:
                result.trials[i] = failed
        wrong = trier.outputs.wrong(right[:1]) if trier.outputs is not None else {}
        for i in alive:
            if i in wrong:
                result.trials[i] = trier.wrong(configs[i], wrong[i])
            else:
                result.trials[i], quantiles = trier.time(configs[i])
                if quantiles:
                    result.quantiles[i] = quantiles
    finally:
        result.cause = trier.cause
        trier.restore()


def warn_of(name: str, tried: Sequence[tuple[Any, Trial]]) -> None:
    """One warning of the configurations that gave a wrong result or took a process with them."""
    lines = [
        f"{config}: {trial.measurement.error.splitlines()[0]}" for config, trial in tried
        if trial.measurement.status in (Status.WRONG_RESULT, Status.CRASH)
    ]  # fmt: skip
    if lines:
        count = f"{len(lines)} configuration{'s' if len(lines) > 1 else ''}"
        warnings.warn(Rejected(f"autotune of {name} rejected {count}: {' | '.join(lines)}"), stacklevel=2)
