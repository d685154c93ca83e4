"""A run that reads an input where it was given: addresses of the run's own memory for it are replaced."""

import ctypes
from collections.abc import Sequence

import numpy as np

from tuner.engine.program.bound_call import BoundCall


class InPlace:
    """Every address, in the calls of a run, that leads into an input's memory.

    Args:
        calls: all of the run's; C functions.
        own: the run's memory for the input, where the addresses lead at first. No other value lies in it.
    """

    def __init__(self, calls: Sequence[BoundCall], own: np.ndarray) -> None:
        self._calls = calls  # their tables live as long as they do
        self._own = self._now = own.ctypes.data
        self._slots = []
        for call in calls:
            table = (ctypes.c_void_p * call.places).from_address(call.addresses)
            for place, address in enumerate(table):
                if address is not None and 0 <= address - self._own < own.nbytes:
                    self._slots.append((table, place, address - self._own))

    def read(self, given: np.ndarray | None) -> None:
        """Puts an array in the place of the run's own memory, for the runs from now on.

        Args:
            given: C-contiguous, of the own memory's shape and dtype. A run may write to it, and it has to be
                there until the last of these runs has ended. `None`: the own memory again.
        """
        address = self._own if given is None else given.ctypes.data
        if address != self._now:
            for table, place, offset in self._slots:
                table[place] = address + offset
            self._now = address
