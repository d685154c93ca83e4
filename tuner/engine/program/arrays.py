"""What a user's program hands to a kernel as an array: taken, converted or refused in one line."""

from typing import Any

import numpy as np

from tuner.core.operator import TensorSpec


def as_input(spec: TensorSpec, given: Any, workload: str) -> np.ndarray:
    """An input as a kernel reads it: C-contiguous, aligned, of the specification's dtype and shape.

    Arrays, and what NumPy takes for one (tensors of other libraries on the CPU, memory maps), have to have
    the dtype: a conversion unasked for would hide a mistake, or a copy in each call. Lists, tuples and
    numbers have no dtype of their own and get the specification's, as Python's numbers do beside an array.
    Neither has what NumPy loads from a file of bfloat16: bytes, two an element.

    Raises:
        TypeError: it is no array, or a list of something else than numbers that the dtype holds.
        ValueError: another dtype or shape.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"array {spec.name} has a mask, which a kernel cannot see: fill it first (.filled())")
    try:
        plain = isinstance(given, list | tuple | int | float)
        array = _converted(spec, given) if plain else np.asarray(given)
    except Exception as error:  # ragged lists, tensors on a GPU or with a gradient: each library its own kind
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise TypeError(
            f"array {spec.name} is a {type(given).__name__} and no array of {spec.dtype}: {said}"
        ) from None
    if array.dtype == object:
        raise TypeError(f"array {spec.name} is a {type(given).__name__} and no array of {spec.dtype}")
    wanted = np.dtype(spec.dtype)
    if wanted.isbuiltin != 1 and array.dtype == np.dtype(f"V{wanted.itemsize}"):
        # NumPy's files keep the bytes of a type that is not its own, such as bfloat16, and no name.
        array = array.view(wanted)
    return np.require(_checked(spec, array, workload), requirements=("C", "A"))


def _converted(spec: TensorSpec, given: Any) -> np.ndarray:
    found, wanted = np.asarray(given), np.dtype(spec.dtype)
    if not np.can_cast(found.dtype, wanted, "same_kind"):
        raise TypeError(f"{found.dtype} is not converted to {wanted}")
    array = found.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(array, found):
        raise OverflowError(f"numbers from {found.min()} to {found.max()}")
    return array


def as_output(spec: TensorSpec, out: Any, workload: str) -> np.ndarray:
    """The array to write to, itself.

    Raises:
        TypeError: it is not a NumPy array.
        ValueError: another dtype or shape; read-only, not C-contiguous or not aligned: a kernel writes to
            the memory and asks nobody.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out is a NumPy array that {workload} writes to, not a {type(out).__name__}")
    _checked(spec, out, workload, "out")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not out.flags.c_contiguous or not out.flags.aligned:
        what = "C-contiguous" if not out.flags.c_contiguous else "aligned"
        raise ValueError(f"out must be {what}, {spec.dtype}{list(spec.shape)}")
    return out


def apart_from(out: np.ndarray, array: np.ndarray) -> np.ndarray:
    """An input that shares no memory with the output: itself, or a copy, as NumPy's own functions make one.

    Both are contiguous, so that the bounds which `may_share_memory` compares say exactly what overlaps.
    """
    return array.copy() if np.may_share_memory(array, out) else array


def _checked(spec: TensorSpec, array: np.ndarray, workload: str, what: str = "") -> np.ndarray:
    if tuple(array.shape) != spec.shape or array.dtype != np.dtype(spec.dtype):
        raise ValueError(
            f"{what or f'array {spec.name}'} is {array.dtype}{list(array.shape)}, {workload} needs "
            f"{spec.dtype}{list(spec.shape)}"
        )
    return array
