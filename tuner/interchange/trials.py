"""Between recorded spaces and the store's trials: what is imported, and what is exported."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tuner.core.digest import digest
from tuner.core.errors import InterchangeError
from tuner.core.measurement import TIMED_STATUSES, Evidence, Measurement
from tuner.core.recorded import RecordedSpace, RecordedTrial, slug
from tuner.core.space import Parameter, Value
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload

RECORDED = "recorded"
"""Stands where a dtype, a toolchain or a protocol stands: the file does not tell."""

_AXES = "xyzw"
# What a measurement has no field for, kept among its metrics so that an export gives it back.
_OBJECTIVE = "recorded_objective_s"
_PHASE = "recorded_{}_s"
_KEPT = ("verify", "benchmark", "strategy", "framework", "compile")


def space_digest(recorded: RecordedSpace) -> str:
    """Stands for the digest of the kernel's source, which the file does not hold."""
    return digest([recorded.kernel, {p.name: list(p.values) for p in recorded.parameters}])


def workload_of(recorded: RecordedSpace) -> Workload:
    """A workload of its own: the kernel's name as operator, the problem size as dimensions x, y, z, w.

    >>> Workload("xgemm", "recorded", (("x", 4096), ("y", 4096))).key
    'xgemm/recorded/x4096-y4096'
    """
    sizes = recorded.problem or (1,)
    names = [*_AXES, *(f"{a}{b}" for a in _AXES for b in _AXES)]
    return Workload(
        slug(recorded.kernel), RECORDED, tuple((n, max(0, s)) for n, s in zip(names, sizes, strict=False))
    )


def to_trials(recorded: RecordedSpace) -> list[Trial]:
    """Trials for a store: evidence `replayed`, all raw times, on a device and workload of their own."""
    workload, kernel_digest = workload_of(recorded), space_digest(recorded)
    fingerprint, target = recorded.fingerprint, recorded.target
    trials = []
    for trial in recorded.trials:
        key = TrialKey(
            workload,
            recorded.kernel,
            kernel_digest,
            dict(trial.config),
            target,
            RECORDED,
            fingerprint,
            RECORDED,
        )
        metrics = {**trial.metrics, **{_PHASE.format(p): s for p, s in trial.phases.items()}}
        if trial.objective_s is not None:
            metrics[_OBJECTIVE] = trial.objective_s
        measurement = Measurement(
            trial.status, Evidence.REPLAYED, samples=trial.samples, error=trial.error, build_s=trial.build_s,
            run_s=trial.run_s, metrics=metrics,
        )  # fmt: skip
        trials.append(Trial(key, measurement, created_at=_time(trial.timestamp)))
    return trials


def _time(timestamp: str) -> datetime:
    if not timestamp:
        return datetime.fromtimestamp(0, UTC)  # equal files give equal trials
    moment = datetime.fromisoformat(timestamp)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def from_trials(
    trials: Sequence[Trial],
    facts: Mapping[str, Any] | None = None,
    parameters: Sequence[Parameter] | None = None,
) -> RecordedSpace:
    """One kernel's trials on one device and workload as a recorded space, to replay or to export.

    Of a configuration with several trials the last success counts, else the last failure.

    Args:
        trials: measured or replayed, in order.
        facts: of the device: `model` is its name, the numbers are kept.
        parameters: with their full lists; by default the values that the trials have, numbers ascending.

    Raises:
        InterchangeError: there are no trials, or they are of several kernels, devices or workloads.
    """
    if not trials:
        raise InterchangeError("there are no trials to export")
    for what in ("kernel", "device", "workload"):
        values = {getattr(t.key, what) for t in trials}
        if len(values) > 1:
            names = ", ".join(sorted(str(v) for v in values)[:3])
            raise InterchangeError(f"one file holds one {what}, these trials have several: {names}")
    chosen: dict[str, Trial] = {}
    for trial in trials:
        text = digest(dict(trial.key.config))
        before = chosen.get(text)
        if before is None or trial.measurement.ok or not before.measurement.ok:
            chosen[text] = trial
    facts, first = facts or {}, trials[0].key
    numbers = {
        k: float(v) for k, v in facts.items() if isinstance(v, int | float) and not isinstance(v, bool)
    }
    declared = tuple(parameters) if parameters is not None else _parameters(list(chosen.values()))
    return RecordedSpace(
        first.kernel, str(facts.get("model", first.device)), tuple(size for _, size in first.workload.dims),
        declared, tuple(_recorded(t, [p.name for p in declared]) for t in chosen.values()), numbers,
    )  # fmt: skip


def _parameters(trials: Sequence[Trial]) -> tuple[Parameter, ...]:
    names = list(dict.fromkeys(name for t in trials for name in t.key.config))
    parameters = []
    for name in names:
        if any(name not in t.key.config for t in trials):
            raise InterchangeError(f"not every trial has parameter {name!r}: they are of different spaces")
        found = {(isinstance(v, bool), v): v for t in trials for v in [t.key.config[name]]}
        values: list[Value] = list(found.values())
        if all(isinstance(v, int | float) for v in values):
            values.sort(key=float)
        parameters.append(Parameter(name, tuple(values)))
    return tuple(parameters)


def _recorded(trial: Trial, names: Sequence[str]) -> RecordedTrial:
    measurement = trial.measurement
    metrics = dict(measurement.metrics)
    phases = {p: metrics.pop(_PHASE.format(p)) for p in _KEPT if _PHASE.format(p) in metrics}
    if not phases:
        phases = {"compile": measurement.build_s, "benchmark": measurement.run_s}
    objective = metrics.pop(_OBJECTIVE, None)
    timed = measurement.status in TIMED_STATUSES
    if timed and not measurement.samples:
        raise InterchangeError(f"trial {trial.id} has evidence {measurement.evidence} and no times to export")
    if timed and objective is None:
        objective = sum(measurement.samples) / len(measurement.samples)
    stamp = "" if trial.created_at.timestamp() == 0 else trial.created_at.isoformat(sep=" ")
    config = {name: trial.key.config[name] for name in names}
    return RecordedTrial(
        config, measurement.status, measurement.samples, objective, _line(measurement.error), phases, stamp,
        metrics,
    )  # fmt: skip


def _line(error: str) -> str:
    """The first line of an error, printable and short enough to be read back."""
    first = error.splitlines()[0] if error else ""
    return "".join(c if c.isprintable() else " " for c in first)[:2000]
