"""FAIR autotuning results, format T4 1.0.0: a JSON list of results with times and an invalidity.

Source: kernel_tuner/schema/T4/1.0.0/results-schema.json (github.com/odgaard/TuningSchema). The format says
nothing of the device, the kernel and the parameters' full lists; what is written here adds them to
`metadata`, where other readers pass over them.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.measurement import TIMED_STATUSES, Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Value
from tuner.interchange import ktt
from tuner.interchange._fields import (
    Fields,
    clip,
    duration,
    in_unit,
    plain_name,
    plain_value,
)  # fmt: skip
from tuner.interchange.kernel_tuner import checked, problem_size, read_facts

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
# Names of a time where no unit says so.
_TIMES = ("time", "TotalDuration", "runtime", "duration")
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
    rules = _Rules(UNITS[word], "timeunit" in metadata.content, _by_ktt(metadata, results[0]))
    trials = tuple(_trial(Fields(r, f"{where}: result {i}"), rules) for i, r in enumerate(results))
    if rules.by_ktt:
        trials = ktt.merged(trials)
    parameters = ktt.observed_parameters(trials, where, metadata.get("tune_params", dict, {}))
    recorded = RecordedSpace(
        metadata.text("kernel_name", kernel), metadata.text("device_name", metadata.text("device", device)),
        problem_size(metadata.get("problem_size", list, []), where), parameters, trials,
        read_facts(metadata.get("device_facts", dict, {}), where), tuple(rules.notes),
    )  # fmt: skip
    return checked(recorded, where)


@dataclass(frozen=True)
class _Rules:
    """How the results of a file are read.

    Attributes:
        unit: how many of the metadata's unit make a second.
        stated: whether the metadata states it.
        by_ktt: written by KTT: one result a run, values as texts.
        notes: what a person should know, in order; a dictionary in place of an ordered set.
    """

    unit: float
    stated: bool
    by_ktt: bool
    notes: dict[str, None] = field(default_factory=dict)


def _by_ktt(metadata: Fields, first: Any) -> bool:
    objectives = first.get("objectives") if isinstance(first, dict) else None
    return metadata.content.get("autotuner") == "KTT" or objectives == ["TotalDuration"]


def _trial(result: Fields, rules: _Rules) -> RecordedTrial:
    config: dict[str, Value] = {}
    for name, value in result.get("configuration", dict).items():
        plain = plain_value(value, result.where)
        config[plain_name(name, result.where)] = _number(plain) if rules.by_ktt else plain
    times = Fields(result.get("times", dict), f"{result.where}: times")
    invalidity = result.text("invalidity")
    if invalidity not in INVALIDITIES:
        known = ", ".join(INVALIDITIES)
        raise InterchangeError(f"{result.where}: invalidity {clip(invalidity)} is none of {known}")
    correct = bool(result.get("correctness", (int, float)))
    # KTT says that what does not compile is not incorrect.
    if invalidity in ("correct", "correctness") and (invalidity == "correct") != correct:
        raise InterchangeError(f"{result.where}: invalidity {invalidity!r} with correctness {int(correct)}")
    measured = _Measured(result, rules)
    unit = rules.unit if rules.stated or measured.unit is None else measured.unit
    status = _status(measured.status, invalidity, result.where)
    objective, error = measured.time_s, measured.error
    samples: tuple[float, ...] = ()
    if status in TIMED_STATUSES:
        runtimes = times.get("runtimes", list, [])
        samples = tuple(duration(t, unit, f"{times.where}: runtimes") for t in runtimes)
        if objective is None and not samples:
            score = f": its objective {measured.score!r} is none" if measured.score else ""
            raise InterchangeError(f"{result.where} is correct and has neither runtimes nor a time{score}")
        if measured.score:
            text = (
                f"the objective is {measured.score!r}, a score, not a time: ranked by the run times beside it"
            )
            rules.notes[text] = None
        objective = sum(samples) / len(samples) if objective is None else objective
        samples = samples or (objective,)
        error = "" if status is Status.OK else error
    else:
        objective, error = None, error or invalidity
    phases = {p: s for p, name in _PHASES.items() if (s := times.seconds(name, unit)) is not None}
    if "compile" not in phases and (s := times.seconds("compilation_time", unit)) is not None:
        phases["compile"] = s
    stamp = result.timestamp("timestamp")
    return RecordedTrial(config, status, samples, objective, error, phases, stamp, measured.metrics)


def _number(value: Value) -> Value:
    """What KTT wrote as a text: a boolean, a number, or a text after all."""
    if not isinstance(value, str):
        return value
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            number: int | float = kind(value)
        except ValueError:
            continue
        return number if math.isfinite(number) and abs(number) < 2**63 else value
    return value


class _Measured:
    """The measurements of a result.

    Attributes:
        time_s: the objective in seconds; `None` where there is none or it is no time.
        unit: how many of the unit that the objective states make a second; `None` where it states none.
        score: the name of an objective that is no time; else empty.
        error, status: texts that stand there.
        metrics: all other numbers by name.
    """

    def __init__(self, result: Fields, rules: _Rules) -> None:
        self.time_s: float | None = None
        self.unit: float | None = None
        self.error, self.status = "", ""
        self.metrics: dict[str, float] = {}
        objectives = result.get("objectives", list, [])
        named = objectives[0] if objectives and isinstance(objectives[0], str) else "time"
        self.score = "" if named in _TIMES else clip(named)[1:-1]
        for entry in result.get("measurements", list, []):
            measured = Fields(entry, f"{result.where}: measurements")
            name = plain_name(measured.text("name"), measured.where)
            self._take(name, measured, named, rules.unit)

    def _take(self, name: str, measured: Fields, objective: str, unit: float) -> None:
        value = measured.get("value", (str, int, float, list))
        stated = measured.text("unit", "").lower()
        a_time = name in _TIMES or (name == objective and stated in UNITS)
        if isinstance(value, str):
            if name in ("error", *_TIMES):
                self.error = measured.text("value")
            elif name == "status":
                self.status = measured.text("value")
        elif a_time and (name == objective or self.score):
            if stated and stated not in UNITS:
                raise InterchangeError(f"{measured.where}: unit {clip(stated)} is none of {', '.join(UNITS)}")
            own = UNITS[stated] if stated else unit
            self.unit = own if stated else None
            self.time_s = duration(value, own, f"{measured.where}: {name}")
            if name == objective:
                self.score = ""
        else:
            self.metrics.update(ktt.numbers_of({name: value}))


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
