"""Numbers with their units as pages say them: `1.24 GMAC`, `66.9 TFLOP/s`, `3.2 ms`, `18.7 KiB`."""

import math

from tuner.report.text import percent, seconds, significant

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BINARY = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))


def quantity(value: float, unit: str) -> str:
    """A number with a decimal prefix and its unit, three significant digits: `1.24 GMAC`.

    Whole numbers below a thousand are written out; below one there is no prefix.
    """
    if not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    scale, prefix = next(((s, p) for s, p in _DECIMAL if abs(value) >= s), _DECIMAL[-1])
    return f"{_short(value / scale)} {prefix}{unit}".rstrip()


def byte_size(value: float) -> str:
    """Bytes with a binary prefix, as memories are sized: `18.7 KiB`."""
    scale, prefix = next(((s, p) for s, p in _BINARY if abs(value) >= s), _BINARY[-1])
    return f"{_short(value / scale)} {prefix}B"


def count(value: float) -> str:
    """A count with commas: `10,000`; one that is not whole keeps three significant digits."""
    return f"{value:,.0f}" if math.isfinite(value) and value == round(value) else _short(value)


def in_unit(value: float, unit: str) -> str:
    """A number in a unit by the unit's name: `s`, `B`, `share`, empty for a count, or any other."""
    if unit == "s":
        return seconds(value) if value > 0 else f"{_short(value)} s"
    if unit == "B":
        return byte_size(value)
    if unit == "share":
        return percent(value)
    return count(value) if not unit else quantity(value, unit)


def _short(value: float) -> str:
    if not math.isfinite(value):
        return f"{value:g}"
    if value == round(value) and abs(value) < 1000:
        return f"{value:.0f}"
    return significant(value) if value > 0 else f"{value:.3g}"
