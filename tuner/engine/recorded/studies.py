"""Stored trials as Optuna's studies, through Optuna's own API: what optuna-dashboard opens."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.errors import TunerError
from tuner.core.measurement import TIMED_EVIDENCE, Evidence, Status
from tuner.core.trial import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from tuner.store.store import Store

JOURNAL = (".log", ".journal")
"""Endings of files that become a journal; any other becomes a SQLite database."""
_MOST_ERROR = 500


def export_studies(
    store: "Store", file: Path, workload: str | None, kernel: str | None, device: str | None
) -> tuple[int, int]:
    """Writes a storage with a study for each workload, kernel, device and kind of evidence.

    Times of different evidence are no values of one study: a prediction would look like a measurement.

    Args:
        store: whose trials.
        file: to write; must not be there.
        workload, kernel: only of this key and name; `None` for all.
        device: only of devices with this in their name; `None` for all.

    Returns:
        How many studies and trials.

    Raises:
        TunerError: the file is there or cannot be written, or nothing is stored.
    """
    studies: dict[str, list[Trial]] = defaultdict(list)
    for name, trials in _groups(store, workload, kernel, device):
        studies[name] += trials
    if not studies:
        raise TunerError("nothing is stored that has these names: `tuner best` lists what is there")
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a line for each study otherwise
    try:
        storage = _storage(file)
        for name, trials in studies.items():
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
            spaces = _distributions(trials)
            study.add_trials([_frozen(trial, spaces) for trial in trials])
    finally:
        optuna.logging.set_verbosity(before)
    return len(studies), sum(map(len, studies.values()))


def _storage(file: Path) -> "BaseStorage":
    if file.exists():
        raise TunerError(f"{file} is there already: name a file that is not, or remove it")
    if not file.parent.is_dir():
        raise TunerError(f"{file} cannot be written: the folder {file.parent} does not exist")
    if file.suffix in JOURNAL:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return JournalStorage(JournalFileBackend(str(file)))
    from optuna.storages import RDBStorage
    from sqlalchemy import URL, exc

    try:
        # Rendered: a name with a question mark is no query.
        return RDBStorage(URL.create("sqlite", database=str(file)).render_as_string())
    except exc.SQLAlchemyError as error:
        raise TunerError(f"{file} cannot be written: {' '.join(str(error).split())[:200]}") from None


def _groups(
    store: "Store", workload: str | None, kernel: str | None, device: str | None
) -> Iterable[tuple[str, list[Trial]]]:
    """Names of studies with trials, sweep by sweep; what the machine failed is nothing to tell others."""
    seen: set[int | None] = set()
    for sweep in store.sweeps(workload_key=workload):
        spec = sweep.spec
        if kernel not in (None, spec.kernel.name):
            continue
        if device is not None and device.lower() not in spec.device.name.lower():
            continue
        protocol = f"{spec.protocol.threads} threads, {spec.protocol.cache}"
        name = f"{spec.workload.key} {spec.kernel.name} {spec.device.name}, {protocol}"
        found: dict[str, list[Trial]] = defaultdict(list)
        for trial in store.sweep_history(sweep.id):
            # A trial that was served from an earlier sweep is in that one's study.
            own = trial.key.kernel == spec.kernel.name and trial.id not in seen
            if own and trial.measurement.status is not Status.ENVIRONMENT:
                seen.add(trial.id)
                kind = trial.measurement.evidence
                found[name if kind is Evidence.MEASURED else f"{name} ({kind})"].append(trial)
        yield from found.items()


def _distributions(trials: Sequence[Trial]) -> dict[str, "BaseDistribution"]:
    """What each parameter ranges over, as far as the trials tell: integers, or a choice of what occurs."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    values: dict[str, dict[Any, None]] = defaultdict(dict)
    for trial in trials:
        for name, value in trial.key.config.items():
            values[name].setdefault(value)
    found: dict[str, BaseDistribution] = {}
    for name, there in values.items():
        if all(type(value) is int for value in there):
            found[name] = IntDistribution(min(there), max(there))
        else:
            found[name] = CategoricalDistribution(sorted(there, key=lambda value: (str(type(value)), value)))
    return found


def _frozen(trial: Trial, spaces: "dict[str, BaseDistribution]") -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    m = trial.measurement
    state, value = TrialState.FAIL, None
    if m.ok and m.evidence in TIMED_EVIDENCE:
        state, value = TrialState.COMPLETE, m.time_s
    elif m.status is Status.PRUNED:
        state = TrialState.PRUNED
    config = dict(trial.key.config)
    return create_trial(
        state=state,
        value=value,
        params=config,
        distributions={name: spaces[name] for name in config},
        user_attrs={
            "trial": trial.id,
            "status": str(m.status),
            "evidence": str(m.evidence),
            **({"error": m.error[:_MOST_ERROR]} if m.error else {}),
        },
    )
