"""Who of a kernel is in the final: its fastest, its default, and what was its best before this campaign."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.digest import canonical_json
from tuner.core.disturbance import is_disturbed
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence
from tuner.core.space import Config, SearchSpace
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.candidate.domain import space_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest, SweepResult
from tuner.engine.tuning.setting import Setting
from tuner.engine.tuning.sweep import Sweep

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Pick:
    """A trial that goes into a final.

    Attributes:
        default: it is what its kernel would be used with had nobody tuned it.
        previous: it was the kernel's best before this campaign.
    """

    trial: Trial
    default: bool = False
    previous: bool = False

    @property
    def same(self) -> str:
        """Equal for trials with one binary, which could only tie."""
        return self.trial.measurement.artifact or self.trial.key.digest


def place(space: SearchSpace, config: Config) -> tuple[Any, ...]:
    """Where a configuration stands among its kernel's: it breaks ties, so that two runs choose alike."""
    try:
        return tuple(space.indices(config))
    except TunerError:
        return (canonical_json(dict(config)),)


def previous_best(
    workload: Workload, kernels: Sequence[Kernel], workshop: Workshop, store: "Store"
) -> dict[str, int]:
    """The best trial of each kernel that the store has, of this source, toolchain, device and protocol."""
    protocol, device = workshop.protocol, workshop.device.fingerprint
    current = {kernel.name: kernel.digest for kernel in kernels if not kernel.baseline}
    rows = store.best(
        workload.operator, workload.key, device, threads=protocol.threads, cache=protocol.cache,
        current=current,
    )  # fmt: skip
    found = {}
    for kernel in kernels:
        row = next(
            (r for r in rows if (r.kernel.name, r.kernel.digest) == (kernel.name, kernel.digest)), None
        )
        if row is None or kernel.baseline or row.target != workshop.target.name:
            continue
        if row.toolchain == registry.builder_of(kernel, workshop.target).toolchain(workshop.target).digest:
            found[kernel.name] = row.trial_id
    return found


def default_trial(
    kernel: Kernel, workload: Workload, sweep: SweepResult, workshop: Workshop, setting: Setting,
    reference_s: float | None,
) -> Trial | str:  # fmt: skip
    """The trial of a kernel's default configuration, measured now where the store has none.

    Args:
        kernel, workload, sweep: of the campaign.
        workshop, setting: as for `run_campaign`.
        reference_s: of the calibration kernel.

    Returns:
        The trial; or, in words, why the default cannot be timed.

    Raises:
        TunerError: the configuration that `setting.plan.defaults` names is none of the kernel's here.
    """
    space = space_of(kernel, workload, workshop)
    config = default_config(space, setting.plan.defaults.get(kernel.name))
    trial = next((t for t in sweep.trials if dict(t.key.config) == dict(config)), None)
    if trial is None:
        request = SweepRequest(
            kernel, workload, "given", setting.plan.seed, Budget(trials=1), options={"configs": [config]}
        )
        one = Sweep(request, workshop, setting.store, _Notes(setting.observer), reference_s)
        trial = setting.store.find_identities([one.key(config).digest], workshop.protocol).get(
            one.key(config).digest
        )
        if trial is None or is_disturbed(trial.measurement.metrics):
            done = one.run()
            if done.interrupted:
                raise KeyboardInterrupt
            trial = done.trials[0] if done.trials else None
    if trial is None:
        return "it was not measured"
    if not trial.measurement.ok and trial.measurement.time_s is None:
        why = (trial.measurement.error.splitlines() or [""])[0]
        return f"{trial.measurement.status}: {why}"
    return trial


class _Notes(Observer):
    """Passes notes on: the sweep of a default is no sweep of the campaign's kernels."""

    def __init__(self, observer: Observer) -> None:
        self.note = observer.note  # type: ignore[method-assign]


def line_up(leaders: Sequence[Trial], default: Trial | None, previous: Trial | None) -> list[Pick]:
    """A kernel's finalists: its leaders, then its default and its previous best; no binary twice.

    Args:
        leaders: the fastest distinct configurations of its sweep, in order.
        default, previous: `None` where there is none.
    """
    picks: list[Pick] = []
    for i, trial in enumerate([*leaders, default, previous]):
        if trial is None:
            continue
        is_default = default is not None and trial is default and i >= len(leaders)
        is_previous = previous is not None and trial is previous and i >= len(leaders)
        pick = Pick(trial, is_default, is_previous)
        twin = next((n for n, known in enumerate(picks) if known.same == pick.same), None)
        if twin is None:
            picks.append(pick)
            continue
        known = picks[twin]
        # A default, and what was the best before, keep their own trial: it is what they are known by.
        kept = known.trial if known.default or known.previous else trial
        picks[twin] = replace(
            known, trial=kept, default=known.default or is_default, previous=known.previous or is_previous
        )
    return picks


def usable_previous(trial_id: int | None, store: "Store") -> Trial | None:
    """The trial of a previous best, if its time was measured."""
    if trial_id is None:
        return None
    trial = store.trial(trial_id).trial
    return trial if trial.measurement.ok and trial.measurement.evidence is Evidence.MEASURED else None
