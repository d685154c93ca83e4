"""What children answer, checked once where it arrives.

A child runs code that may have overwritten its memory, or that means to deceive: nothing of what it says has
a shape until it was looked at. One function a kind of answer gives plain values of the right types and sizes,
or raises `UnusableAnswer`, which costs the candidate its trial and nobody anything else. Keys that are not
named here are dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.artifact import Artifact
from tuner.core.brief import brief, printable
from tuner.core.measurement import TIMED_STATUSES, Status
from tuner.engine.building.build_process import artifact_from_plain

# No build and no run lasts thirty years; what is beyond is noise of a broken process.
_LONGEST_S = 1e9
_MOST_SAMPLES = 100_000
_MOST_METRICS = 1_000
_MOST_STEPS = 1_000
_BUILD_STATUSES = frozenset(Status) - TIMED_STATUSES | {Status.OK}


class UnusableAnswer(ValueError):
    """A child answered something that is no answer; the message says what, in one line."""


def _object(raw: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise UnusableAnswer(f"{what} is not an object but {brief(raw)}")
    return raw


def _field(answer: Mapping[str, Any], name: str) -> Any:
    if name not in answer:
        raise UnusableAnswer(f"it lacks {name!r}")
    return answer[name]


def number(raw: Any, what: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within bounds.

    Raises:
        UnusableAnswer: it is something else.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise UnusableAnswer(f"{what} is not a number but {brief(raw)}")
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not (math.isfinite(value) and least <= value <= most):
        raise UnusableAnswer(f"{what} cannot be {brief(raw)}")
    return value


def seconds(raw: Any, what: str = "a time") -> float:
    """Seconds of something that took a while: positive and finite; raises `UnusableAnswer`."""
    value = number(raw, what, 0.0, _LONGEST_S)
    if value == 0.0:
        raise UnusableAnswer(f"{what} cannot be 0")
    return value


def calibration(raw: Any) -> tuple[float, bool]:
    """Of `bench_process.calibrate_job`: seconds, and whether nothing disturbed them; or `UnusableAnswer`."""
    if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[1], bool):
        raise UnusableAnswer(f"a calibration is a time and a truth value, not {brief(raw)}")
    return seconds(raw[0], "a calibration"), raw[1]


def _text(raw: Any, what: str) -> str:
    if not isinstance(raw, str):
        raise UnusableAnswer(f"{what} is not a text but {brief(raw)}")
    return printable(raw)


def _status(answer: Mapping[str, Any], allowed: frozenset[Status]) -> Status:
    word = _field(answer, "status")
    if not isinstance(word, str) or word not in allowed:
        raise UnusableAnswer(f"status {brief(word)} is none of {', '.join(sorted(allowed))}")
    return Status(word)


def _error(answer: Mapping[str, Any], status: Status) -> str:
    error = _text(_field(answer, "error"), "the error")
    if status in TIMED_STATUSES:
        if error and status is Status.OK:
            raise UnusableAnswer(f"status ok with an error: {brief(error)}")
    elif not error:
        raise UnusableAnswer(f"status {status} without a reason")
    return error


def numbers(raw: Any, what: str) -> dict[str, float]:
    """Named finite numbers: metrics of a run, peaks of a device; raises `UnusableAnswer`."""
    found = _object(raw, what)
    if len(found) > _MOST_METRICS:
        raise UnusableAnswer(f"{what} are {len(found)}, more than {_MOST_METRICS}")
    for name in found:
        if len(name) > 200 or not name.isprintable():
            raise UnusableAnswer(f"{what}: {brief(name)} is not a name")
    return {name: number(value, f"{what}: {name}") for name, value in found.items()}


def trial_answer(raw: Any) -> dict[str, Any]:
    """What the judge says of a trial, with the keys and types that `judge.py` promises.

    Returns:
        {"status": `Status`, "samples": seconds, "error", "calibration": [before, after] or `None`,
        "max_error": number or `None`, "metrics": numbers by name, "run_s": seconds, "passing": of a status
        `environment` whether trying once more may help}.

    Raises:
        UnusableAnswer: a key is missing, a value is of another type, not finite or beyond reason, or the
            status does not go with the rest.
    """
    answer = _object(raw, "it")
    status = _status(answer, frozenset(Status))
    samples = _field(answer, "samples")
    if not isinstance(samples, list) or len(samples) > _MOST_SAMPLES:
        raise UnusableAnswer(f"the samples are not a list of seconds but {brief(samples)}")
    if bool(samples) != (status in TIMED_STATUSES):
        raise UnusableAnswer(f"status {status} with {len(samples)} samples")
    calibration = _field(answer, "calibration")
    if calibration is not None:
        if not isinstance(calibration, list) or len(calibration) != 2:
            raise UnusableAnswer(f"the calibration is not two times but {brief(calibration)}")
        calibration = [seconds(s, "a calibration") for s in calibration]
    worst = _field(answer, "max_error")
    if worst is not None:
        worst = number(worst, "max_error", 0.0, 1.0 if status in TIMED_STATUSES else math.inf)
    return {
        "status": status,
        "samples": [seconds(s, "a sample") for s in samples],
        "error": _error(answer, status),
        "calibration": calibration,
        "max_error": worst,
        "metrics": numbers(_field(answer, "metrics"), "the metrics"),
        "run_s": number(_field(answer, "run_s"), "run_s", 0.0, _LONGEST_S),
        "passing": answer.get("passing") is True,
    }


@dataclass(frozen=True)
class BuildAnswer:
    """What a build child says.

    Attributes:
        status, error: how it ended; no error where it is ok.
        artifacts: of a success.
        build_s: seconds.
        passing: of status `environment`: whether trying once more may help.
    """

    status: Status
    error: str
    artifacts: tuple[Artifact, ...]
    build_s: float
    passing: bool = False


def build_answer(raw: Any, expected: int) -> BuildAnswer:
    """What a build child says.

    Args:
        raw: as received.
        expected: how many artifacts a success has.

    Raises:
        UnusableAnswer: as of `trial_answer`.
    """
    answer = _object(raw, "it")
    status = _status(answer, _BUILD_STATUSES)
    error = _error(answer, status)
    build_s = number(_field(answer, "build_s"), "build_s", 0.0, _LONGEST_S)
    if status is not Status.OK:
        return BuildAnswer(status, error, (), build_s, answer.get("passing") is True)
    artifacts = _field(answer, "artifacts")
    if not isinstance(artifacts, list) or len(artifacts) != expected:
        raise UnusableAnswer(f"there are not {expected} artifacts but {brief(artifacts)}")
    return BuildAnswer(status, "", tuple(artifact_of(plain) for plain in artifacts), build_s)


def artifact_of(raw: Any) -> Artifact:
    """An artifact from plain values; raises `UnusableAnswer`."""
    plain = _object(raw, "an artifact")
    for name in ("path", "format", "entry", "digest"):
        value = _field(plain, name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > 100_000:
            raise UnusableAnswer(f"an artifact's {name} cannot be {brief(value)}")
    threads = _field(plain, "threads")
    if type(threads) is not int or not 1 <= threads <= 2**20:
        raise UnusableAnswer(f"an artifact's threads cannot be {brief(threads)}")
    before = _field(plain, "before")
    if not isinstance(before, list) or len(before) > _MOST_STEPS:
        raise UnusableAnswer(f"an artifact's steps are not a list but {brief(before)}")
    chain = _object(_field(plain, "toolchain"), "an artifact's toolchain")
    flags = _field(chain, "flags")
    if not isinstance(flags, list) or not all(isinstance(part, str) for part in flags):
        raise UnusableAnswer(f"a toolchain's flags cannot be {brief(flags)}")
    for part in ("name", "version"):
        _text(_field(chain, part), f"a toolchain's {part}")
    for step in (plain, *before):
        _check_step(_object(step, "a step"))
    return artifact_from_plain(plain)


_KINDS = ("tensor", "int64", "int32", "float32", "workspace", "struct", "map")


def _check_step(step: Mapping[str, Any]) -> None:
    _text(_field(step, "entry"), "an entry")
    numbers(_field(step, "metrics"), "an artifact's metrics")
    arguments = _field(step, "arguments")
    if not isinstance(arguments, list) or len(arguments) > _MOST_STEPS:
        raise UnusableAnswer(f"the arguments are not a list but {brief(arguments)}")
    for raw in arguments:
        _check_argument(raw)
    launch = _field(step, "launch")
    if launch is not None:
        _check_launch(_object(launch, "a launch"))


def _check_argument(raw: Any, inside: bool = False) -> None:
    """An argument, or a field inside of a struct, which is no struct itself."""
    argument = _object(raw, "an argument")
    if argument.keys() != {"name", "kind", "value", "fields"}:
        raise UnusableAnswer(f"an argument is not a name, a kind, a value and fields but {brief(raw)}")
    name, kind, value = argument["name"], argument["kind"], argument["value"]
    fields = argument["fields"]
    if not isinstance(name, str) or kind not in _KINDS or (inside and kind in ("struct", "map")):
        raise UnusableAnswer(f"argument {brief(name)} cannot be of kind {brief(kind)}")
    if value is not None:
        number(value, f"argument {name}", -(2.0**63), 2.0**63)
        if kind in ("int64", "int32", "workspace") and type(value) is not int:
            raise UnusableAnswer(f"argument {name} is not a whole number but {brief(value)}")
    if (
        not isinstance(fields, list)
        or len(fields) > _MOST_STEPS
        or (fields and kind not in ("struct", "map"))
    ):
        raise UnusableAnswer(f"argument {name} cannot have the fields {brief(fields)}")
    for part in fields:
        _check_argument(part, True)


def _check_launch(launch: Mapping[str, Any]) -> None:
    for name in ("grid", "block"):
        sizes = _field(launch, name)
        if not isinstance(sizes, list) or len(sizes) != 3 or not all(type(s) is int for s in sizes):
            raise UnusableAnswer(f"a launch's {name} is not three numbers but {brief(sizes)}")
        if not all(0 <= s < 2**31 for s in sizes):
            raise UnusableAnswer(f"a launch's {name} cannot be {brief(sizes)}")
    shared = _field(launch, "shared_bytes")
    if type(shared) is not int or not 0 <= shared < 2**40:
        raise UnusableAnswer(f"a launch's shared bytes cannot be {brief(shared)}")


def agreement(raw: Any) -> str:
    """What a finalist says of its verification: nothing where it is right, else why not.

    Raises:
        UnusableAnswer: it is neither {"ok": true} nor {"ok": false, "error": text}.
    """
    answer = _object(raw, "it")
    right = _field(answer, "ok")
    if right is True:
        return ""
    if right is not False:
        raise UnusableAnswer(f"ok is neither true nor false but {brief(right)}")
    return _text(_field(answer, "error"), "the error") or "wrong, and does not say why"


def greeting(raw: Any) -> tuple[int, str]:
    """A finalist's first message: (calls a sample, why it cannot take part or nothing).

    Raises:
        UnusableAnswer: as of `agreement`, or the calls are no number from 1 to a million.
    """
    if reason := agreement(raw):
        return 0, reason
    calls = _field(raw, "calls")
    if type(calls) is not int or not 1 <= calls <= 1_000_000:
        raise UnusableAnswer(f"calls a sample cannot be {brief(calls)}")
    return calls, ""


def turn(raw: Any) -> dict[str, Any]:
    """What `quiet.turn` gives: seconds of a call, whether they are disturbed, and what others took.

    Raises:
        UnusableAnswer: a key is missing or of another type, or the seconds are none.
    """
    answer = _object(raw, "it")
    if answer.get("ok") is False:
        raise UnusableAnswer(_text(answer.get("error", ""), "the error") or "wrong, and does not say why")
    disturbed = _field(answer, "disturbed")
    if not isinstance(disturbed, bool):
        raise UnusableAnswer(f"disturbed is neither true nor false but {brief(disturbed)}")
    names = ("others_share", "steal_s", "wall_s", "throttled")
    return {
        **{name: number(_field(answer, name), name, 0.0) for name in names},
        "seconds": seconds(_field(answer, "seconds")),
        "disturbed": disturbed,
    }
