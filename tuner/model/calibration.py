"""Calibration data: samples of a model's inputs from an `.npz` file, each as one run takes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.model.guards import ModelError, onnx_library
from tuner.model.reading import model_inputs

Feed = dict[str, np.ndarray]


def read_calibration(model: Any, path: Path, calibration: Path) -> list[Feed]:
    """The runs that a file's samples are.

    An array has a leading axis of samples: before the input's own axes, or, where it has as many axes as the
    input, in place of the batch; then a run takes as many samples as the batch is (one where it is symbolic).

    Args:
        model: the `ModelProto`, whose symbolic dimensions any size fits.
        path: of it, for messages.
        calibration: `.npz` file of arrays by the inputs' names.

    Raises:
        ModelError: it is no such file, an input is missing, an array has another type or shape, numbers that
            are not finite, or another number of samples than the others.
    """
    arrays = read_arrays(calibration)
    inputs = {value.name: value for value in model_inputs(model.graph)}
    for name in arrays:
        if name not in inputs:
            known = ", ".join(inputs)
            raise ModelError(f"{calibration}: {path.name} has no input {brief(name, 80)}: it has {known}")
    missing = [name for name in inputs if name not in arrays]
    if missing:
        raise ModelError(f"{calibration}: no array for input {brief(missing[0], 80)} of {path.name}")
    runs = {name: _runs(inputs[name], array, calibration) for name, array in arrays.items()}
    counts = {name: len(found) for name, found in runs.items()}
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{brief(name, 40)} for {count}" for name, count in counts.items())
        raise ModelError(f"{calibration}: arrays for different numbers of runs: {told}")
    count = next(iter(counts.values()), 0)
    if not count:
        raise ModelError(f"{calibration}: no samples: give arrays with a leading axis of samples")
    return [{name: found[number] for name, found in runs.items()} for number in range(count)]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file; one that would run code is refused.

    Raises:
        ModelError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: np.ascontiguousarray(stored[name]) for name in stored}
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file") from None
    except Exception as error:  # of zip, of NumPy, of the system
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: no .npz file of arrays: {brief(said, 200)}") from None


def _runs(value: Any, array: np.ndarray, calibration: Path) -> Sequence[np.ndarray]:
    onnx = onnx_library()
    kind, name = value.type.tensor_type, brief(value.name, 80)
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
    try:
        wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except (KeyError, ValueError, TypeError):
        raise ModelError(f"{calibration}: {name} is of a type that no array has") from None
    if array.dtype != wanted:
        raise ModelError(f"{calibration}: {name} is {array.dtype}, the model takes {wanted}")
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise ModelError(f"{calibration}: {name} has values that are not finite")

    def fits(shape: tuple[int, ...], of: Sequence[int]) -> bool:
        return len(shape) == len(of) and all(d < 1 or d == s for d, s in zip(of, shape, strict=True))

    if array.ndim == len(dims) + 1 and fits(array.shape[1:], dims):
        return list(array)
    batch = max(1, dims[0]) if dims else 1
    if dims and fits(array.shape[1:], dims[1:]):
        if array.shape[0] % batch:
            raise ModelError(
                f"{calibration}: {name} has {array.shape[0]} samples, the model takes {batch} in each run: "
                "give a multiple of that"
            )
        return [array[first : first + batch] for first in range(0, array.shape[0], batch)]
    shown = ", ".join(str(d) if d > 0 else "any" for d in dims)
    raise ModelError(
        f"{calibration}: {name} is {list(array.shape)}, the model takes [{shown}]: give [samples, {shown}]"
    )
