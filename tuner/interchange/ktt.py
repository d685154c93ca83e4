"""Results of KTT, the Kernel Tuning Toolkit: JSON with `Metadata` and a list of `Results`, one a run.

Source: Source/Output/JsonConverters.{h,cpp} of github.com/HiPerCoRe/KTT (versions 2.0 to 2.2). A
configuration is a list of {Name, Value} with a type beside them; durations are in the header's `TimeUnit`, or
where there is none in nanoseconds, as KTT counts. What was run several times is listed several times.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter, Value
from tuner.interchange._fields import MAX_PARAMETERS, NAME, Fields, clip, duration, plain_name, plain_value
from tuner.interchange.kernel_tuner import checked, make_parameter

UNITS = {"nanoseconds": 1e9, "microseconds": 1e6, "milliseconds": 1e3, "seconds": 1.0}
"""How many of the header's unit make a second."""
STATUSES = {
    "Ok": Status.OK,
    "ComputationFailed": Status.RUN_ERROR,
    "ValidationFailed": Status.WRONG_RESULT,
    "CompilationFailed": Status.BUILD_ERROR,
    "DeviceLimitsExceeded": Status.OVER_RESOURCES,
}
# Fields whose seconds are one phase; older versions state their sum only, the launch's cost.
_PHASES = {
    "compile": ("CompilationOverhead",),
    "verify": ("ValidationOverhead",),
    "strategy": ("SearcherOverhead",),
    "framework": ("DataMovementOverhead", "ProfilingOverhead"),
}
_RESOURCES = {
    "RegistersCount": "registers",
    "LocalMemorySize": "shared_bytes",
    "PrivateMemorySize": "local_bytes",
}


def is_results(content: Any) -> bool:
    """Whether the content of a JSON file has the shape of KTT's results."""
    return isinstance(content, dict) and "Results" in content and "Metadata" in content


def parse(content: Any, where: str, device: str) -> RecordedSpace:
    """The recorded space of a result file's JSON content.

    Args:
        content: as parsed from JSON.
        where: the file, for messages.
        device: the name to use where the header has none.

    Raises:
        InterchangeError: it is of several kernels, or contradicts itself.
    """
    top = Fields(content, where)
    header = Fields(top.get("Metadata", dict), f"{where}: Metadata")
    word = header.text("TimeUnit", "Nanoseconds")
    if word.lower() not in UNITS:
        raise InterchangeError(f"{where}: TimeUnit {clip(word)} is none of {', '.join(UNITS)}")
    results = [Fields(r, f"{where}: result {i}") for i, r in enumerate(top.get("Results", list))]
    if not results:
        raise InterchangeError(f"{where} has no results")
    names = list(dict.fromkeys(result.text("KernelName") for result in results))
    if len(names) > 1:
        raise InterchangeError(
            f"{where} has results of several kernels: {clip(names)}; one a file can be read"
        )
    stamp = header.timestamp("Timestamp")
    trials = merged(_trial(result, UNITS[word.lower()], stamp) for result in results)
    parameters = observed_parameters(trials, where)
    recorded = RecordedSpace(names[0], header.text("Device", device), (), parameters, trials)
    return checked(recorded, where)


def _trial(result: Fields, unit: float, stamp: str) -> RecordedTrial:
    config: dict[str, Value] = {}
    for i, entry in enumerate(result.get("Configuration", list)):
        pair = Fields(entry, f"{result.where}: parameter {i}")
        name = plain_name(pair.get("Name", str), pair.where)
        if name in config:
            raise InterchangeError(f"{result.where} gives parameter {name!r} twice")
        config[name] = plain_value(pair.get("Value", (bool, int, float, str)), pair.where)
    word = result.text("Status")
    if word not in STATUSES:
        raise InterchangeError(f"{result.where}: Status {clip(word)} is none of {', '.join(STATUSES)}")
    phases = {}
    for phase, names in _PHASES.items():
        spent = [s for name in names if (s := result.seconds(name, unit)) is not None]
        if spent:
            phases[phase] = sum(spent)
    metrics = _metrics(result)
    if STATUSES[word] is not Status.OK:
        return RecordedTrial(config, STATUSES[word], (), None, word, phases, stamp, metrics)
    time_s = duration(result.get("TotalDuration", (int, float)), unit, f"{result.where}: TotalDuration")
    return RecordedTrial(config, Status.OK, (time_s,), time_s, "", phases, stamp, metrics)


def _metrics(result: Fields) -> dict[str, float]:
    """Resources and counters of the first kernel function, those that are numbers."""
    functions = result.get("ComputationResults", list, [])
    if not functions or not isinstance(functions[0], dict):
        return {}
    found: dict[str, Any] = {}
    resources = functions[0].get("CompilationData")
    if isinstance(resources, dict):
        found.update((ours, resources[name]) for name, ours in _RESOURCES.items() if name in resources)
    profile = functions[0].get("ProfilingData")
    counters = profile.get("Counters") if isinstance(profile, dict) else None
    for counter in counters if isinstance(counters, list) else []:
        if (
            isinstance(counter, dict)
            and isinstance(name := counter.get("Name"), str)
            and NAME.fullmatch(name)
        ):
            found[name] = counter.get("Value")
    return numbers_of(found)


def numbers_of(found: Mapping[str, Any]) -> dict[str, float]:
    """Those of some named values that are numbers of reasonable size."""
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    }


def merged(trials: Iterable[RecordedTrial]) -> tuple[RecordedTrial, ...]:
    """One trial a configuration: all times of its right runs; a wrong result among them stays wrong."""
    found: dict[tuple[Any, ...], RecordedTrial] = {}
    for trial in trials:
        key = tuple((name, isinstance(value, bool), value) for name, value in trial.config.items())
        before = found.get(key)
        if before is None or trial.status is Status.WRONG_RESULT:
            found[key] = trial
        elif before.status is Status.OK and trial.status is Status.OK:
            samples = before.samples + trial.samples
            phases = {
                p: before.phases.get(p, 0.0) + trial.phases.get(p, 0.0)
                for p in {**before.phases, **trial.phases}
            }
            found[key] = RecordedTrial(
                trial.config, Status.OK, samples, sum(samples) / len(samples), "", phases, trial.timestamp,
                {**before.metrics, **trial.metrics},
            )  # fmt: skip
        elif before.status is not Status.WRONG_RESULT and trial.status is Status.OK:
            found[key] = trial
    return tuple(found.values())


def observed_parameters(
    trials: tuple[RecordedTrial, ...], where: str, declared: Mapping[str, Any] | None = None
) -> tuple[Parameter, ...]:
    """Parameters of trials, with the lists that are declared, else the values they have: numbers ascending.

    Raises:
        InterchangeError: two trials have different parameters, or there are none or too many.
    """
    names = list(trials[0].config)
    if len(names) > MAX_PARAMETERS:
        raise InterchangeError(f"{where} has more than {MAX_PARAMETERS} parameters")
    for i, trial in enumerate(trials):
        if trial.config.keys() != trials[0].config.keys():
            odd = min(trial.config.keys() ^ trials[0].config.keys())
            raise InterchangeError(f"{where}: results 0 and {i} do not both have parameter {odd!r}")
    parameters = []
    for name in names:
        found = {(isinstance(t.config[name], bool), t.config[name]): t.config[name] for t in trials}
        values: list[Any] = list(found.values())
        if all(isinstance(v, int | float) for v in values):
            values.sort()
        chosen = (declared or {}).get(name, values)
        parameters.append(make_parameter(name, chosen, f"{where}: parameter {name!r}"))
    return tuple(parameters)
