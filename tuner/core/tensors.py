"""What a kernel reads and writes: named arrays, and their shapes and types."""

from dataclasses import dataclass

import numpy as np

from tuner.core.dtypes import dtype_named

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One argument of a kernel: its name, shape and NumPy dtype, and whether the kernel writes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    output: bool = False

    def __post_init__(self) -> None:
        dtype_named(self.dtype)  # from here on NumPy knows it by its name

    @property
    def nbytes(self) -> int:
        """Size in bytes, as a Python integer that cannot overflow."""
        count = 1
        for size in self.shape:
            count *= size
        return count * dtype_named(self.dtype).itemsize
