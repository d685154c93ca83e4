"""NumPy dtypes by name, bfloat16 among them, which NumPy itself has not got.

`ml_dtypes` teaches it to NumPy; only those who have such a tensor import it. NumPy calls the kind of such a
type void ("V"), so whether a type is a floating-point one is asked here.
"""

from typing import Any

import numpy as np

BFLOAT16 = "bfloat16"


def dtype_named(name: str) -> "np.dtype[Any]":
    """The dtype of a name such as `float32` or `bfloat16`."""
    if name == BFLOAT16:
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def floating(dtype: "np.dtype[Any]") -> bool:
    """Whether its values are floating-point numbers."""
    return bool(np.issubdtype(dtype, np.floating)) or dtype.name == BFLOAT16


def limits_of(name: str) -> Any:
    """What `np.finfo` says of a floating-point type."""
    if name == BFLOAT16:
        import ml_dtypes

        finfo: Any = ml_dtypes.finfo
        return finfo(dtype_named(name))
    return np.finfo(name)
