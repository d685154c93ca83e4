"""Files of best configurations, ours (`tuner export --best`) and Kernel Tuner's results (version 1.0).

All entries of a kernel on a device at a problem become one recorded space: what they carry is a time, and
nothing of what was tried besides.
"""

from collections.abc import Iterator
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter, Value
from tuner.interchange._fields import MAX_PARAMETERS, Fields, clip, duration, plain_name, plain_value

FORMAT = "kernel-tuner-lab/best"
_MOST = 100_000
_Entry = tuple[str, str, tuple[int, ...], dict[str, Value], float, str]


def is_best(content: Any) -> bool:
    """Whether a file's JSON is one of these."""
    if not isinstance(content, dict):
        return False
    return content.get("format") == FORMAT or ("version_number" in content and "objective" in content)


def parse(content: Any, where: str) -> list[RecordedSpace]:
    """The spaces of a file.

    Raises:
        InterchangeError: it is of another version, contradicts itself or has no entries.
    """
    top = Fields(content, where)
    entries = _ours(top, where) if content.get("format") == FORMAT else _kernel_tuner(top, where)
    groups: dict[tuple[str, str, tuple[int, ...]], list[RecordedTrial]] = {}
    for count, (kernel, device, problem, config, seconds, stamp) in enumerate(entries):
        if count == _MOST:
            raise InterchangeError(f"{where} has more than {_MOST:,} entries")
        trial = RecordedTrial(config, Status.OK, (seconds,), seconds, timestamp=stamp)
        groups.setdefault((kernel, device, problem), []).append(trial)
    if not groups:
        raise InterchangeError(f"{where} has no entries")
    return [
        RecordedSpace(kernel, device, problem, _parameters(trials, where), tuple(_distinct(trials)), {})
        for (kernel, device, problem), trials in groups.items()
    ]


def _ours(top: Fields, where: str) -> Iterator[_Entry]:
    if top.get("version", int, 0) != 1:
        raise InterchangeError(f"{where}: version {clip(top.get('version', int, 0))} of the format; known: 1")
    for fingerprint, device in top.get("devices", dict).items():
        at = Fields(device, f"{where}: device {clip(fingerprint)}")
        name = at.text("name")
        for key, entry in at.get("shapes", dict).items():
            place = f"{where}: {clip(key)}"
            fields = Fields(entry, place)
            sizes = tuple(_size(size, place) for size in fields.get("dims", dict).values())
            seconds = duration(fields.get("time_s", (int, float)), 1.0, place)
            yield fields.text("kernel"), name, sizes, _config(fields.get("config", dict), place), seconds, ""


def _kernel_tuner(top: Fields, where: str) -> Iterator[_Entry]:
    if top.text("version_number") != "1.0":
        raise InterchangeError(
            f"{where}: results file of version {clip(top.text('version_number'))}; known: 1.0"
        )
    objective = top.text("objective")
    if objective != "time":
        raise InterchangeError(f"{where}: its objective is {clip(objective)}, which is no time")
    kernel = top.text("kernel_name")
    for number, entry in enumerate(top.get("data", list)):
        place = f"{where}: entry {number}"
        fields = Fields(entry, place)
        sizes = tuple(_size(text, place) for text in fields.text("problem_size").split("x"))
        seconds = duration(fields.get("time", (int, float)), 1e3, place)
        config = _config(fields.get("tunable_parameters", dict), place)
        yield kernel, fields.text("device_name"), sizes, config, seconds, ""


def _size(value: Any, where: str) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InterchangeError(f"{where}: {clip(value)} is no size")
    return int(text)


def _config(given: dict[str, Any], where: str) -> dict[str, Value]:
    if len(given) > MAX_PARAMETERS:
        raise InterchangeError(f"{where} has more than {MAX_PARAMETERS} parameters")
    return {plain_name(name, where): plain_value(value, where) for name, value in given.items()}


def _parameters(trials: list[RecordedTrial], where: str) -> tuple[Parameter, ...]:
    names = list(trials[0].config)
    if any(list(trial.config) != names for trial in trials):
        raise InterchangeError(f"{where}: entries of one kernel have different parameters")
    found = []
    for name in names:
        values = {(isinstance(t.config[name], bool), t.config[name]): t.config[name] for t in trials}
        found.append(Parameter(name, tuple(values.values())))
    return tuple(found)


def _distinct(trials: list[RecordedTrial]) -> Iterator[RecordedTrial]:
    seen: list[dict[str, Value]] = []
    for trial in trials:
        if dict(trial.config) not in seen:
            seen.append(dict(trial.config))
            yield trial
