"""A run that reads an input where it was given: the addresses that led to its own memory lead there."""

import ctypes
from collections.abc import Sequence

import numpy as np

from tuner.engine.program.bound_call import BoundCall


class InPlace:
    """The addresses, in the calls of a run, that lie in an input's memory.

    Args:
        calls: all of a run, C functions.
        own: the input's memory, where the addresses lead at first.
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
        """Has the next runs read, and write where they write to an input, an array as the own one.

        Args:
            given: C-contiguous, of the same shape and dtype; it has to live until the last of these runs has
                ended. `None`: the own memory again.
        """
        address = self._own if given is None else given.ctypes.data
        if address != self._now:
            for table, place, offset in self._slots:
                table[place] = address + offset
            self._now = address
