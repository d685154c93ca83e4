"""Typed access to what a file holds, with one-line errors; nothing in a file is ever executed."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import InterchangeError
from tuner.core.protocol import CACHES
from tuner.core.space import Value

MAX_PARAMETERS = 200
MAX_TEXT = 2000
_MOST_BETWEEN = 2**40
NAME = re.compile(r"[\w.:/+\- ]{1,100}")


def clip(value: object, length: int = 60) -> str:
    """A value as text of one line and bounded length."""
    return brief(value, length)


class Fields:
    """Typed access to an object of a file, with errors that say where.

    Args:
        content: what should be an object.
        where: for messages: the file, and the place in it.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise InterchangeError(f"{where} is not an object but {clip(content)}")
        self.content: Mapping[str, Any] = content
        self.where = where

    def get(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """A field of a type; required where `default` is `None`."""
        if name not in self.content:
            if default is None:
                raise InterchangeError(f"{self.where} lacks {name!r}")
            return default
        value = self.content[name]
        if not isinstance(value, kind):
            raise InterchangeError(f"{self.where}: {name!r} cannot be {clip(value)}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text of bounded length and printable characters."""
        value: str = self.get(name, str, default)
        if len(value) > MAX_TEXT or not value.isprintable():
            raise InterchangeError(f"{self.where}: {name!r} cannot be {clip(value)}")
        return value

    def timestamp(self, name: str) -> str:
        """An ISO 8601 time, or nothing; `UTC` behind it, as KTT writes, becomes an offset."""
        value = self.text(name, "")
        if value:
            if value.endswith("UTC"):
                value = value.removesuffix("UTC").rstrip() + "+00:00"
            try:
                # To where the store keeps it: the first hours of the year 1 are before it in another zone.
                datetime.fromisoformat(value).astimezone(UTC)
            except (ValueError, OverflowError):
                problem = f"{name!r} is not an ISO 8601 time: {clip(value)}"
                raise InterchangeError(f"{self.where}: {problem}") from None
        return value

    def caches(self) -> tuple[str, int]:
        """What calls found in the caches, and bytes of other data that passed through them before each."""
        cache = self.text("cache", "warm")
        if cache not in CACHES:
            known = f"{', '.join(CACHES[:-1])} or {CACHES[-1]}"
            raise InterchangeError(f"{self.where}: cache is {known}, not {clip(cache)}")
        between = self.get("between_bytes", int, 0) if cache == "model" else 0
        if isinstance(between, bool) or not 0 <= between <= _MOST_BETWEEN:
            raise InterchangeError(f"{self.where}: {clip(between)} is no number of bytes between two calls")
        return cache, between

    def seconds(self, name: str, unit: float) -> float | None:
        """A duration; `None` where it is absent."""
        if name not in self.content:
            return None
        return duration(self.content[name], unit, f"{self.where}: {name!r}", zero=True)


def duration(value: Any, unit: float, where: str, zero: bool = False) -> float:
    """Seconds of a recorded number, divided by `unit` (1000 for milliseconds)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InterchangeError(f"{where} is not a number but {clip(value)}")
    try:
        number = float(value) / unit
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise InterchangeError(f"{where} is not a time: {clip(value)}")
    return number


def plain_name(name: Any, where: str) -> str:
    """The name of a parameter or a metric: one line, no markup, bounded length."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name or name.startswith("/"):
        raise InterchangeError(f"{where}: {clip(name)} is not a name")
    return name


def plain_value(value: Any, where: str) -> Value:
    """A plain value of a parameter."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, bool | int) and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, str) and len(value) <= 200 and value.isprintable():
        return value
    raise InterchangeError(f"{where}: {clip(value)} is not a parameter's value")


def in_unit(seconds: float, unit: float) -> float | None:
    """The number that reads back as exactly these seconds when divided by `unit`; `None` if there is none."""
    guess = seconds * unit
    for candidate in (guess, math.nextafter(guess, 0), math.nextafter(guess, math.inf)):
        if candidate / unit == seconds:
            return candidate
    return None
