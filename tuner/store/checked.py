"""Values of a database's columns as what they must be: a file from elsewhere may hold anything.

SQLite keeps any type in any column, and constraints can be left out of a file. What is not as it must be is a
`ValueError`, which `tuner.store.errors.readable` makes one line of.
"""

import json
import math
from datetime import datetime
from typing import Any

_DEEPEST = 6
_LARGEST = 2**63


def _constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


_DECODER = json.JSONDecoder(parse_constant=_constant)


def words(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} in place of a text")
    return value


def whole(value: Any) -> int:
    """An integer of 64 bits."""
    if type(value) is not int or not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"{str(value)[:40]!r} in place of an integer")
    return value


def real(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float):
        raise ValueError(f"{str(value)[:40]!r} in place of a number")
    _number(value)
    return float(value)


def positive(value: Any) -> float:
    """A finite number above zero: a time."""
    if not real(value) > 0:
        raise ValueError(f"{value!r} in place of a positive number")
    return float(value)


def moment(value: Any) -> datetime:
    """A timestamp with its time zone."""
    when = datetime.fromisoformat(words(value))
    if when.tzinfo is None:
        raise ValueError(f"a timestamp without a time zone: {value[:40]!r}")
    return when


def plain_json(value: Any) -> Any:
    """A JSON text of a few levels with finite numbers of 64 bits."""
    found = _DECODER.decode(words(value))
    _check(found, 0)
    return found


def record(value: Any) -> dict[str, Any]:
    """A JSON object."""
    found = plain_json(value)
    if not isinstance(found, dict):
        raise ValueError(f"JSON of a {type(found).__name__} in place of an object")
    return found


def scalars(value: Any) -> dict[str, Any]:
    """A JSON object of numbers, texts and booleans: a configuration, options."""
    found = _DECODER.decode(words(value))
    if not isinstance(found, dict):
        raise ValueError(f"JSON of a {type(found).__name__} in place of an object")
    for item in found.values():
        if type(item) not in (str, bool):
            _number(item)
    return found


def sizes(value: Any) -> dict[str, int]:
    """A JSON object of integers: dimensions."""
    return {name: whole(size) for name, size in scalars(value).items()}


def times(value: Any) -> tuple[float, ...]:
    """A JSON list of positive numbers: samples."""
    found = _DECODER.decode(words(value))
    if not isinstance(found, list):
        raise ValueError(f"JSON of a {type(found).__name__} in place of a list")
    return tuple(positive(item) for item in found)


def counts(value: Any) -> tuple[int, ...]:
    """A JSON list of integers."""
    found = _DECODER.decode(words(value))
    if not isinstance(found, list):
        raise ValueError(f"JSON of a {type(found).__name__} in place of a list")
    return tuple(whole(item) for item in found)


def _check(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"JSON nested deeper than {_DEEPEST} levels")
    if isinstance(value, dict):
        for item in value.values():
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif value is not None and not isinstance(value, str | bool):
        _number(value)


def _number(value: Any) -> None:
    if type(value) is int:
        whole(value)
    elif type(value) is not float or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} in place of a number")
