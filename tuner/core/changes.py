"""Inputs that change in place between the calls of one sample, so that no call is like the one before."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Changes:
    """Values that elements of one tensor take, one before each call.

    All places take the first values before the first call. Before call i, counted from 0, place i % P takes
    value i % T: with 4 places and 256 values no state of the tensor comes back within 256 calls.

    Attributes:
        name: of the tensor.
        places: P flat indices.
        values: T elements of the tensor's dtype, T a multiple of P.

    Raises:
        ValueError: there are no places, or the values are no multiple of them.
    """

    name: str
    places: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.places.size == 0 or self.values.size == 0 or self.values.size % self.places.size:
            raise ValueError(f"{self.values.size} values for {self.places.size} places")

    def final(self, calls: int) -> np.ndarray:
        """What the places hold after so many calls.

        >>> Changes("A", np.array([7, 8]), np.array([1.0, 2.0, 3.0, 4.0])).final(3).tolist()
        [3.0, 2.0]
        """
        held = np.arange(self.places.size)
        last = calls - 1 - (calls - 1 - held) % self.places.size  # the last call before which each was set
        return np.asarray(self.values[np.where(last >= 0, last, held) % self.values.size])

    def apply(self, tensors: Mapping[str, np.ndarray], calls: int) -> None:
        """Leaves a tensor as `calls` calls would."""
        tensors[self.name].reshape(-1)[self.places] = self.final(calls)
