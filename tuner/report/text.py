"""Numbers as people read them: three significant digits, with units and intervals."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands that only print a help text load no NumPy
    from tuner.core.stats import Interval


# Controls (C0, DEL, C1), what turns the direction of writing, separators of lines, and lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str, lines: bool = False) -> str:
    """A stored text as it may be printed: control characters become visible escapes such as `\\x1b`.

    A terminal would obey them: rename its window, hide what follows, answer as if typed.

    Args:
        text: from a database, a file, a compiler.
        lines: keep its line ends and tabs.
    """

    def escaped(match: re.Match[str]) -> str:
        char = match[0]
        return char if lines and char in "\n\t" else char.encode("unicode_escape", "surrogatepass").decode()

    return _UNSAFE.sub(escaped, text)


def first_line(text: str) -> str:
    """The first line of a text that has something in it; empty where none has."""
    return next((line for line in text.splitlines() if line.strip()), "")


def seconds(value: float) -> str:
    """A time with its unit: `1.23 ms`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{significant(value / 1e-9)} ns"


def significant(value: float, digits: int = 3) -> str:
    """A positive number with so many significant digits and no exponent: 1234, 123, 12.3, 1.23, 0.123."""
    if value <= 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def spread(interval: "Interval") -> str:
    """An interval as its larger deviation: `±1.2%`."""
    wide = max(interval.high - interval.mid, interval.mid - interval.low) / interval.mid
    return f"±{100 * wide:.1f}%" if wide < 0.1 else f"±{100 * wide:.0f}%"


def ratio(interval: "Interval | None", missing: str = "-") -> str:
    """A ratio with its 95% interval: `1.31x [1.28, 1.33]`."""
    if interval is None:
        return missing
    if interval.low == interval.high:
        return f"{significant(interval.mid)}x"
    low, mid, high = (significant(v) for v in (interval.low, interval.mid, interval.high))
    return f"{mid}x [{low}, {high}]"


def percent(share: float | None, missing: str = "-") -> str:
    """A share as a percentage: `72%`, and `0.4%` under one."""
    if share is None:
        return missing
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.1f}%"


def intensity(value: float) -> str:
    """FLOP a byte."""
    return f"{significant(value)} FLOP/byte"


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration on one line: `MC=96 KC=256`."""
    return " ".join(f"{name}={_value(value)}" for name, value in config.items()) or "(none)"


def _value(value: Any) -> str:
    shown = str(value)
    if len(shown) > 400:  # a trace: its beginning says nothing, all of it too much
        from tuner.core.digest import digest

        return f"<{digest(shown)}>"
    return safe(shown if len(shown) <= 40 else f"{shown[:37]}...")
