"""NaN, infinities, the ends of a type's range: where verification plants them, how results compare.

Random inputs hold none of them, so a kernel that turns a NaN into 0, or lets a value reach an output that
does not depend on it, passes on random inputs alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.core.dtypes import floating as is_floating
from tuner.core.dtypes import limits_of

NON_FINITE = (np.nan, np.inf, -np.inf)


def tiny(dtype: str) -> tuple[float, ...]:
    """Zeros and denormals of a floating-point type: they change a sum by less than any rounding."""
    kind = limits_of(dtype)
    least, largest = float(kind.smallest_subnormal), float(kind.tiny) - float(kind.smallest_subnormal)
    return (-0.0, least, -largest)


def largest(dtype: str) -> float:
    """The largest finite value of a floating-point type."""
    return float(limits_of(dtype).max)


def extremes(dtype: str) -> tuple[int, int]:
    """The least and the largest value of an integer type."""
    kind = np.iinfo(dtype)
    return int(kind.min), int(kind.max)


def places(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    """Some different indices below `count`: at most `most`, and no more than a quarter, in random order.

    So most of what they index stays ordinary, and what reaches it wrongly is seen.
    """
    return rng.permutation(count)[: min(most, count // 4)]


def plant(array: np.ndarray, rng: np.random.Generator, values: Sequence[float], most: int) -> None:
    """Writes `values` in turn to `places` of a C-contiguous array, in place."""
    flat = array.reshape(-1)
    for number, place in enumerate(places(rng, flat.size, most)):
        flat[place] = values[number % len(values)]


def special_mismatch(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    tolerance: Mapping[str, np.ndarray],
) -> str | None:
    """What is wrong with outputs of special inputs, as "D[4, 7] is 0, not nan; 3 of 77 wrong"; else `None`.

    A NaN is right where the reference has one, and nowhere else (its sign and payload do not matter). Where
    the reference is infinite the output is the same infinity, whatever the tolerance. Elsewhere the output
    lies within the tolerance. Both ends of what is allowed are rounded to the output's type first, so that a
    result beyond its range is an infinity, and one at its very end may be. The sign of a zero does not
    matter.

    Intermediate sums that overflow where the result would not are the operator's business:
    `Operator.special_inputs` keeps values out that allow them.

    Args:
        outputs: what a kernel computed, in the types of the operator's signature.
        reference: of `Operator.reference`.
        tolerance: of `Operator.tolerance`; where the reference is not finite it does not matter.

    Raises:
        ValueError: an output is missing or has not the reference's shape.
    """
    for name, expected in reference.items():
        if name not in outputs or outputs[name].shape != expected.shape:
            raise ValueError(f"output {name} of shape {expected.shape} is missing or has another shape")
        actual = outputs[name]
        allowed = np.where(np.isfinite(expected), np.broadcast_to(tolerance[name], expected.shape), 0)
        # An integer result is exact, or nearly: NumPy compares integers and floats of this size exactly.
        floating = is_floating(actual.dtype)
        with np.errstate(all="ignore"):
            low, high = expected - allowed, expected + allowed
            if floating:
                low, high = low.astype(actual.dtype), high.astype(actual.dtype)
            right = (actual >= low) & (actual <= high)
        if floating:
            right |= np.isnan(actual) & np.isnan(expected)
        wrong = np.argwhere(~right)
        if wrong.size:
            place = tuple(int(i) for i in wrong[0])
            at = ", ".join(map(str, place))
            known = f"{float(actual[place]):.9g}, not {float(expected[place]):.9g}"
            return f"{name}[{at}] is {known}; {len(wrong)} of {actual.size} wrong"
    return None
