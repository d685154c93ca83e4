"""FAIR autotuning results, format T4 1.0.0: a JSON list of results with times and an invalidity.

Source: kernel_tuner/schema/T4/1.0.0/results-schema.json (github.com/odgaard/TuningSchema). The format says
nothing of the device, the kernel and the parameters' full lists; what is written here adds them to
`metadata`, where other readers pass over them.
"""

import json
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.measurement import TIMED_STATUSES, Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter, Value
from tuner.interchange._reading import (
    MAX_PARAMETERS,
    Fields,
    clip,
    duration,
    in_unit,
    plain_name,
    plain_value,
)  # fmt: skip
from tuner.interchange.kernel_tuner import checked, make_parameter, read_facts

VERSION = "1.0.0"
# How many of the file's unit make a second; Kernel Tuner itself writes "miliseconds".
UNITS = {
    "miliseconds": 1e3, "milliseconds": 1e3, "ms": 1e3, "seconds": 1.0, "s": 1.0, "microseconds": 1e6,
    "us": 1e6, "nanoseconds": 1e9, "ns": 1e9,
}  # fmt: skip
INVALIDITIES = {
    "correct": Status.OK,
    "compile": Status.BUILD_ERROR,
    "runtime": Status.RUN_ERROR,
    "timeout": Status.RUN_TIMEOUT,
    "correctness": Status.WRONG_RESULT,
    "constraints": Status.INFEASIBLE,
}
_WRITTEN = {
    **{status: word for word, status in INVALIDITIES.items()},
    Status.PRUNED: "correct",
    Status.BUILD_TIMEOUT: "timeout",
    Status.OVER_RESOURCES: "compile",
    Status.CRASH: "runtime",
    Status.ENVIRONMENT: "runtime",
}
_PHASES = {
    "compile": "compilation",
    "verify": "validation",
    "benchmark": "benchmark",
    "strategy": "search_algorithm",
    "framework": "framework",
}


def parse(content: Any, where: str, kernel: str, device: str) -> RecordedSpace:
    """The recorded space of a T4 file's JSON content.

    Args:
        content: as parsed from JSON.
        where: the file, for messages.
        kernel, device: names to use where the metadata has none.

    Raises:
        InterchangeError: it is not of version 1.0.0, or contradicts itself.
    """
    top = Fields(content, where)
    version = top.get("schema_version", str)
    if version != VERSION:
        raise InterchangeError(f"{where} is a T4 file of version {clip(version)}; known: {VERSION}")
    metadata = Fields(top.get("metadata", dict, {}), f"{where}: metadata")
    word = metadata.text("timeunit", "miliseconds")
    if word not in UNITS:
        raise InterchangeError(f"{where}: timeunit {clip(word)} is none of {', '.join(UNITS)}")
    results = top.get("results", list)
    if not results:
        raise InterchangeError(f"{where} has no results")
    trials = tuple(_trial(Fields(r, f"{where}: result {i}"), UNITS[word]) for i, r in enumerate(results))
    recorded = RecordedSpace(
        metadata.text("kernel_name", kernel), metadata.text("device_name", device),
        tuple(s for s in metadata.get("problem_size", list, []) if isinstance(s, int)),
        _parameters(trials, metadata, where), trials,
        read_facts(metadata.get("device_facts", dict, {}), where),
    )  # fmt: skip
    return checked(recorded, where)


def _parameters(trials: tuple[RecordedTrial, ...], metadata: Fields, where: str) -> tuple[Parameter, ...]:
    names = list(trials[0].config)
    if len(names) > MAX_PARAMETERS:
        raise InterchangeError(f"{where} has more than {MAX_PARAMETERS} parameters")
    for i, trial in enumerate(trials):
        if trial.config.keys() != trials[0].config.keys():
            odd = min(trial.config.keys() ^ trials[0].config.keys())
            raise InterchangeError(f"{where}: results 0 and {i} do not both have parameter {odd!r}")
    declared = metadata.get("tune_params", dict, {})
    parameters = []
    for name in names:
        # What the file does not declare is taken from its configurations: numbers ascending.
        found = {(isinstance(t.config[name], bool), t.config[name]): t.config[name] for t in trials}
        values: list[Any] = list(found.values())
        if all(isinstance(v, int | float) for v in values):
            values.sort()
        parameters.append(make_parameter(name, declared.get(name, values), f"{where}: parameter {name!r}"))
    return tuple(parameters)


def _trial(result: Fields, unit: float) -> RecordedTrial:
    config: dict[str, Value] = {}
    for name, value in result.get("configuration", dict).items():
        config[plain_name(name, result.where)] = plain_value(value, result.where)
    times = Fields(result.get("times", dict), f"{result.where}: times")
    invalidity = result.text("invalidity")
    if invalidity not in INVALIDITIES:
        known = ", ".join(INVALIDITIES)
        raise InterchangeError(f"{result.where}: invalidity {clip(invalidity)} is none of {known}")
    correct = bool(result.get("correctness", (int, float)))
    if (invalidity == "correct") != correct:
        raise InterchangeError(f"{result.where}: invalidity {invalidity!r} with correctness {int(correct)}")
    measured = _measurements(result, unit)
    status = _status(measured.pop("status", ""), invalidity, result.where)
    objective, error = measured.pop("time", None), measured.pop("error", "")
    samples: tuple[float, ...] = ()
    if status in TIMED_STATUSES:
        runtimes = times.get("runtimes", list, [])
        samples = tuple(duration(t, unit, f"{times.where}: runtimes") for t in runtimes)
        if objective is None and not samples:
            raise InterchangeError(f"{result.where} is correct and has neither runtimes nor a time")
        objective = sum(samples) / len(samples) if objective is None else objective
        samples = samples or (objective,)
        error = "" if status is Status.OK else error
    else:
        objective, error = None, error or invalidity
    phases = {p: s for p, name in _PHASES.items() if (s := times.seconds(name, unit)) is not None}
    stamp = result.timestamp("timestamp")
    return RecordedTrial(config, status, samples, objective, error, phases, stamp, measured)


def _measurements(result: Fields, unit: float) -> dict[str, Any]:
    """Metrics by name, besides `time` in seconds, `error` and `status` as texts."""
    found: dict[str, Any] = {}
    for entry in result.get("measurements", list, []):
        measured = Fields(entry, f"{result.where}: measurements")
        name = plain_name(measured.text("name"), measured.where)
        value = measured.get("value", (str, int, float, list))
        if name in ("time", "error", "status") and isinstance(value, str):
            found["error" if name == "time" else name] = measured.text("value")
        elif name == "time":
            found[name] = duration(value, unit, f"{result.where}: time")
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            found[name] = float(value)
    return found


def _status(text: str, invalidity: str, where: str) -> Status:
    if not text:
        return INVALIDITIES[invalidity]
    if text not in list(Status) or _WRITTEN[Status(text)] != invalidity:
        raise InterchangeError(f"{where}: status {clip(text)} does not go with invalidity {invalidity!r}")
    return Status(text)


def dumps(recorded: RecordedSpace) -> str:
    """A T4 file of version 1.0.0: times in milliseconds if all of them read back exactly, else in seconds."""
    numbers: set[float] = set()
    for t in recorded.trials:
        numbers.update(t.samples, t.phases.values(), () if t.objective_s is None else (t.objective_s,))
    word = "miliseconds" if all(in_unit(s, 1e3) is not None for s in numbers) else "seconds"
    metadata: dict[str, Any] = {
        "timeunit": word,
        "kernel_name": recorded.kernel,
        "device_name": recorded.device,
        "problem_size": list(recorded.problem),
        "tune_params": {p.name: list(p.values) for p in recorded.parameters},
    }
    if recorded.device_facts:
        metadata["device_facts"] = dict(recorded.device_facts)
    results = [_result(trial, UNITS[word]) for trial in recorded.trials]
    return json.dumps({"metadata": metadata, "results": results, "schema_version": VERSION}, allow_nan=False)


def _result(trial: RecordedTrial, unit: float) -> dict[str, Any]:
    def number(seconds: float) -> float:
        exact = in_unit(seconds, unit)
        return seconds * unit if exact is None else exact

    times: dict[str, Any] = {_PHASES[phase]: number(s) for phase, s in trial.phases.items()}
    if trial.samples:
        times["runtimes"] = [number(s) for s in trial.samples]
    value = trial.error if trial.objective_s is None else number(trial.objective_s)
    extra: dict[str, Any] = dict(trial.metrics)
    word = _WRITTEN[trial.status]
    if INVALIDITIES[word] is not trial.status:
        extra |= {"status": str(trial.status)} | ({"error": trial.error} if trial.samples else {})
    measurements = [{"name": k, "value": v, "unit": ""} for k, v in {"time": value, **extra}.items()]
    result: dict[str, Any] = {"timestamp": trial.timestamp} if trial.timestamp else {}
    return result | {
        "configuration": dict(trial.config),
        "times": times,
        "invalidity": word,
        "correctness": int(word == "correct"),
        "measurements": measurements,
        "objectives": ["time"],
    }
