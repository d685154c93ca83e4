"""NumPy dtypes by name, bfloat16 and 8-bit floats among them, which NumPy itself has not got.

`ml_dtypes` teaches them to NumPy; only those who have such a tensor import it. NumPy calls the kind of such a
type void ("V"), so whether a type is a floating-point one is asked here.
"""

from typing import Any

import numpy as np

BFLOAT16, E4M3, E5M2 = "bfloat16", "float8_e4m3fn", "float8_e5m2"
_TAUGHT = (BFLOAT16, E4M3, E5M2)


def dtype_named(name: str) -> "np.dtype[Any]":
    """The dtype of a name such as `float32`, `bfloat16` or `float8_e4m3fn`."""
    if name in _TAUGHT:
        import ml_dtypes

        taught: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return taught
    return np.dtype(name)


def floating(dtype: "np.dtype[Any]") -> bool:
    """Whether its values are floating-point numbers."""
    return bool(np.issubdtype(dtype, np.floating)) or dtype.name in _TAUGHT


def limits_of(name: str) -> Any:
    """What `np.finfo` says of a floating-point type."""
    if name in _TAUGHT:
        import ml_dtypes

        finfo: Any = ml_dtypes.finfo
        return finfo(dtype_named(name))
    return np.finfo(name)
