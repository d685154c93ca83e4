"""Kernel Tuner's cache files: a JSON object with one entry a configuration, times in milliseconds.

Source: the schemas of kernel_tuner/schema/cache (versions 1.0.0 to 1.1.0); files older than the first
schema have the same fields without `schema_version`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.errors import InterchangeError, TunerError
from tuner.core.measurement import TIMED_STATUSES, Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter, Value
from tuner.interchange._fields import (
    MAX_PARAMETERS,
    Fields,
    clip,
    duration,
    in_unit,
    plain_name,
    plain_value,
)  # fmt: skip

VERSIONS = ("1.0.0", "1.0.1", "1.1.0")
MILLISECONDS = 1000.0
# Kernel Tuner stores a failure as the name of its class; before 1.0 as a time of 1e20.
FAILURES = {
    "InvalidConfig": Status.INFEASIBLE,
    "CompilationFailedConfig": Status.BUILD_ERROR,
    "RuntimeFailedConfig": Status.RUN_ERROR,
}
_FAILED_TIME = 1e19
PHASES = {
    "compile": "compile_time",
    "verify": "verification_time",
    "benchmark": "benchmark_time",
    "strategy": "strategy_time",
    "framework": "framework_time",
}
_NAMES = {
    Status.INFEASIBLE: "InvalidConfig",
    Status.BUILD_ERROR: "CompilationFailedConfig",
    Status.BUILD_TIMEOUT: "CompilationFailedConfig",
}


def parse(content: Any, where: str) -> RecordedSpace:
    """The recorded space of a cache's JSON content.

    Raises:
        InterchangeError: it is not a cache of a known version, or contradicts itself.
    """
    top = Fields(content, where)
    version = top.get("schema_version", str, VERSIONS[0])
    if version not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise InterchangeError(f"{where} is a Kernel Tuner cache of version {clip(version)}; known: {known}")
    parameters = _parameters(top)
    trials = tuple(
        _trial(Fields(entry, f"{where}: configuration {clip(key)}"), key, parameters)
        for key, entry in top.get("cache", dict).items()
    )
    if not trials:
        raise InterchangeError(f"{where} has no configurations")
    recorded = RecordedSpace(
        top.text("kernel_name"), top.text("device_name"), _problem(top), parameters, trials,
        read_facts(top.get("device_facts", dict, {}), where),
    )  # fmt: skip
    return checked(recorded, where)


def checked(recorded: RecordedSpace, where: str) -> RecordedSpace:
    """The space itself, its configurations distinct and within the parameters' lists."""
    try:
        recorded.space.rank(recorded.trials[0].config)
    except TunerError as error:
        raise InterchangeError(f"{where}: {error}") from None
    return recorded


def read_facts(facts: Mapping[str, Any], where: str) -> dict[str, float]:
    """Numbers about a device, which this lab adds to the formats."""
    place = f"{where}: device_facts"
    return {plain_name(k, place): duration(v, 1.0, f"{place} {k}", zero=True) for k, v in facts.items()}


def _problem(top: Fields) -> tuple[int, ...]:
    size = top.content.get("problem_size", ())
    sizes = [size] if isinstance(size, int | str) else size
    if not isinstance(sizes, list | tuple) or len(sizes) > 20:
        raise InterchangeError(f"{top.where}: 'problem_size' cannot be {clip(size)}")
    return problem_size(sizes, top.where)


def problem_size(sizes: Sequence[Any], where: str) -> tuple[int, ...]:
    """The whole numbers of a problem size.

    A size may also be the text of an expression, which nobody evaluates here.
    """
    found = tuple(s for s in sizes if isinstance(s, int) and not isinstance(s, bool))
    if len(found) > 20 or not all(0 <= s < 10**18 for s in found):
        raise InterchangeError(f"{where}: a problem size cannot be {clip(list(found))}")
    return found


def _parameters(top: Fields) -> tuple[Parameter, ...]:
    names = top.get("tune_params_keys", list)
    lists = top.get("tune_params", dict)
    if len(names) > MAX_PARAMETERS:
        raise InterchangeError(f"{top.where} declares more than {MAX_PARAMETERS} parameters")
    parameters = []
    for name in names:
        plain_name(name, f"{top.where}: tune_params_keys")
        values = lists.get(name)
        if not isinstance(values, list):
            raise InterchangeError(f"{top.where}: tune_params lacks the values of {name!r}")
        parameters.append(make_parameter(name, values, f"{top.where}: tune_params {name!r}"))
    if len({p.name for p in parameters}) != len(parameters):
        raise InterchangeError(f"{top.where}: tune_params_keys names a parameter twice")
    return tuple(parameters)


def make_parameter(name: str, values: Any, where: str) -> Parameter:
    """A parameter of checked values."""
    if not isinstance(values, list):
        raise InterchangeError(f"{where} is not a list of values but {clip(values)}")
    checked_values = tuple(plain_value(v, where) for v in values)
    try:
        return Parameter(name, checked_values)
    except TunerError as error:
        raise InterchangeError(f"{where}: {error}") from None


def _trial(entry: Fields, key: str, parameters: tuple[Parameter, ...]) -> RecordedTrial:
    config: dict[str, Value] = {}
    for p in parameters:
        if p.name not in entry.content:
            raise InterchangeError(f"{entry.where} lacks parameter {p.name!r}")
        config[p.name] = plain_value(entry.content[p.name], entry.where)
    if key != ",".join(str(v) for v in config.values()):
        raise InterchangeError(f"{entry.where} holds other values than its key says")
    phases = {
        phase: seconds
        for phase, name in PHASES.items()
        if (seconds := entry.seconds(name, MILLISECONDS)) is not None
    }
    other = {"time", "times", "timestamp", "status", "error", *PHASES.values(), *config}
    metrics = {
        plain_name(k, entry.where): float(v)
        for k, v in entry.content.items()
        if k not in other and isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300
    }
    status, samples, objective, error = _outcome(entry)
    stamp = entry.timestamp("timestamp")
    return RecordedTrial(config, status, samples, objective, error, phases, stamp, metrics)


def _outcome(entry: Fields) -> tuple[Status, tuple[float, ...], float | None, str]:
    time = entry.get("time", (str, int, float))
    failed = isinstance(time, str) or time >= _FAILED_TIME
    stated = entry.text("status", "")
    if stated and (stated not in list(Status) or (stated in TIMED_STATUSES) == failed):
        raise InterchangeError(f"{entry.where}: 'status' cannot be {clip(stated)}")
    if failed:
        word = entry.text("time") if isinstance(time, str) else f"recorded as a time of {clip(time)}"
        status = Status(stated) if stated else FAILURES.get(word, Status.RUN_ERROR)
        return status, (), None, entry.text("error", word) or "failed"
    objective = duration(time, MILLISECONDS, f"{entry.where}: 'time'")
    times = entry.get("times", list, [])
    samples = tuple(duration(t, MILLISECONDS, f"{entry.where}: 'times'") for t in times) or (objective,)
    return Status(stated) if stated else Status.OK, samples, objective, entry.text("error", "")


def dumps(recorded: RecordedSpace) -> str:
    """A cache file of version 1.1.0, as Kernel Tuner reads it.

    Fields it has no name for (`status`, `error`, `device_facts`) are written only where they say more
    than its own.
    """
    content: dict[str, Any] = {
        "schema_version": VERSIONS[-1],
        "device_name": recorded.device,
        "kernel_name": recorded.kernel,
        "problem_size": list(recorded.problem),
        "tune_params_keys": [p.name for p in recorded.parameters],
        "tune_params": {p.name: list(p.values) for p in recorded.parameters},
        "objective": "time",
    }
    if recorded.device_facts:
        content["device_facts"] = dict(recorded.device_facts)
    content["cache"] = {",".join(str(v) for v in t.config.values()): _entry(t) for t in recorded.trials}
    return json.dumps(content, allow_nan=False)


def _entry(trial: RecordedTrial) -> dict[str, Any]:
    entry: dict[str, Any] = dict(trial.config)
    if trial.objective_s is None:
        word = trial.error if trial.error in FAILURES else _NAMES.get(trial.status, "RuntimeFailedConfig")
        entry["time"], expected = word, FAILURES[word]
    else:
        entry["time"], expected = _milliseconds(trial.objective_s), Status.OK
        entry["times"] = [_milliseconds(s) for s in trial.samples]
    entry |= {PHASES[phase]: _milliseconds(seconds) for phase, seconds in trial.phases.items()}
    entry |= trial.metrics
    if trial.timestamp:
        entry["timestamp"] = trial.timestamp
    if trial.status is not expected:
        entry["status"] = str(trial.status)
    if trial.error and trial.error != entry["time"]:
        entry["error"] = trial.error
    return entry


def _milliseconds(seconds: float) -> float:
    # Exact where such a number exists; a time that was never milliseconds may move by its last bit.
    exact = in_unit(seconds, MILLISECONDS)
    return seconds * MILLISECONDS if exact is None else exact
