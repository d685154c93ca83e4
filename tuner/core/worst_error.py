"""Outputs against their reference: the largest error as a share of what is allowed."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from tuner.core.tensors import Tensors

# Elements compared at a time, in one scratch array: it stays in the cache, while fresh arrays as large as
# the output cost more in page faults than the arithmetic.
_CHUNK = 8_192
# Elements for each thread that compares, at least: fewer are compared before a second thread has started.
_ALONE = 1 << 19


def worst_error(outputs: Tensors, reference: Tensors, tolerance: Tensors) -> tuple[float, str]:
    """The largest error as a share of its tolerance, and where it is: (0.3, "D[4, 7] is 1.2, not 1.3").

    A NaN is an infinite error, and so is an infinity that the reference has not got. At most 1.0 passes.

    Raises:
        ValueError: an output is missing or has not the reference's shape.
    """
    worst, where = 0.0, ""
    for name, expected in reference.items():
        if name not in outputs or outputs[name].shape != expected.shape:
            raise ValueError(f"output {name} of shape {expected.shape} is missing or has another shape")
        actual, known = outputs[name].reshape(-1), expected.reshape(-1)
        allowed = np.broadcast_to(tolerance[name], expected.shape).reshape(-1)
        largest, place, bad = _worst(actual, known, allowed)
        if largest > worst:
            worst = largest
            at = ", ".join(str(int(i)) for i in np.unravel_index(place, expected.shape))
            where = f"{name}[{at}] is {float(actual[place]):.9g}, not {known[place]:.9g}; "
            where += f"{bad} of {actual.size} wrong"
    return worst, where


def _worst(actual: np.ndarray, known: np.ndarray, allowed: np.ndarray) -> tuple[float, int, int]:
    """The largest share of a tolerance, its place, and how many are over 1, of flat arrays."""
    threads = min(8, len(os.sched_getaffinity(0)), actual.size // _ALONE)
    if threads < 2:
        return _worst_between(actual, known, allowed, _CHUNK, 0, actual.size)
    # NumPy computes without the interpreter's lock, and takes it less often in larger chunks: 16 million
    # elements, a product of 4096 x 4096 on a GPU, take one thread 0.2 s, twice a trial.
    bounds = [actual.size * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = list(
            pool.map(partial(_worst_between, actual, known, allowed, 4 * _CHUNK), bounds, bounds[1:])
        )
    largest, place, _ = max(parts, key=lambda part: part[0])
    return largest, place, sum(bad for _, _, bad in parts)


def _worst_between(
    actual: np.ndarray, known: np.ndarray, allowed: np.ndarray, chunk: int, first: int, end: int
) -> tuple[float, int, int]:
    """`_worst` of the elements from `first` to before `end`, `chunk` at a time."""
    largest, place, bad = 0.0, 0, 0
    scratch = np.empty(min(chunk, end - first))
    for start in range(first, end, chunk):
        part = slice(start, min(start + chunk, end))
        share = _shares(actual[part], known[part], allowed[part], scratch)
        top = float(share.max())
        if top > 1:
            bad += int((share > 1).sum())
        if top > largest:
            largest, place = top, start + int(share.argmax())
    return largest, place, bad


def _shares(
    actual: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, scratch: np.ndarray
) -> np.ndarray:
    """Errors as shares of their tolerances, element by element; a NaN is an infinite one.

    `scratch` (float64, at least as long) may hold the answer.
    """
    share = scratch[: actual.size]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        np.subtract(actual, expected, out=share)
        np.abs(share, out=share)
        np.divide(share, tolerance, out=share)
    if np.isfinite(share.max()):  # the largest of any with a NaN is a NaN
        return share
    # An exact result is right whatever the tolerance: 0 / 0 of integers, inf - inf of infinities.
    share = np.where(actual == expected, 0.0, share)
    # A NaN compares false with everything; say so explicitly, or it would pass.
    return np.where(np.isnan(share), np.inf, share)
