"""Numbers that people give: whole, finite, within what can be stored; else one line says what is right."""

import math
from typing import Any

from tuner.core.errors import InvalidSetting

MAX_COUNT = 1_000_000_000
"""More trials, rounds, seconds or threads than anybody waits for."""
MAX_SEED = 2**63 - 1
"""What a database's integers hold."""


def check_count(name: str, value: Any, least: int = 1, most: int = MAX_COUNT) -> None:
    """Raises `InvalidSetting` unless a value is a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidSetting(name, f"is a whole number from {least} to {most:,}", value)


def check_budget(name: str, value: Any) -> None:
    """Raises `InvalidSetting` unless a bound of a sweep is positive and finite, or `None` for no bound."""
    if value is not None and not 0 < value <= MAX_COUNT:  # nor NaN
        raise InvalidSetting(name, f"is a positive number up to {MAX_COUNT:,}", value)


def check_seed(value: Any) -> None:
    """Raises `InvalidSetting` unless a value is a seed: a whole number from 0 to 2^63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
        raise InvalidSetting("seed", "is a whole number from 0 to 2^63 - 1", value)


def check_positive(name: str, value: Any) -> None:
    """Raises `InvalidSetting` unless a value is a positive, finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= MAX_COUNT or not math.isfinite(value):
        raise InvalidSetting(name, f"is a positive number up to {MAX_COUNT:,}", value)
