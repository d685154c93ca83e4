"""Loads artifacts of format `shared_library`: C symbols that take the tensors' own memory."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.changes import Changes
from tuner.core.device import Executable
from tuner.core.guarded import Guarded
from tuner.core.kernel_status import status_error
from tuner.core.source import ADDED, Argument
from tuner.devices.cpu.runtime import Runtime

_SCALARS: dict[str, type[Any]] = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
}


class SharedLibrary(Executable):
    """A `shared_library` artifact: one C symbol that takes one array of pointers.

    Args:
        artifact: what the builder `cxx` made.
        helper: its timing loop runs `sample` in C.

    Raises:
        RuntimeError: the library cannot be loaded or has no such symbol.
    """

    def __init__(self, artifact: Artifact, helper: Runtime) -> None:
        self._arguments = artifact.arguments
        self._prepared, self._growth = artifact.prepare, artifact.growth
        self._helper = helper
        try:
            library = ctypes.CDLL(str(artifact.path))
            self._call = getattr(library, artifact.entry)
            self._prepare = getattr(library, artifact.prepare.entry) if artifact.prepare else None
            self._append = getattr(library, artifact.growth.entry) if artifact.growth else None
        except (OSError, AttributeError) as error:
            raise RuntimeError(f"{artifact.path.name} cannot be loaded: {error}") from None
        for symbol in filter(None, (self._call, self._prepare, self._append)):
            symbol.argtypes, symbol.restype = [ctypes.c_void_p], ctypes.c_int
        self._address = ctypes.cast(self._call, ctypes.c_void_p)
        self._pointers = (ctypes.c_void_p * max(1, len(self._arguments)))()
        self._tensors: dict[str, np.ndarray] = {}
        self._scalars: list[Any] = []
        self._held = False
        self._numbers: dict[str, int] = {}  # scalars that are not what the artifact says
        self._workspaces = {name: Guarded((size,), "uint8") for name, size in artifact.workspaces.items()}

    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Hands the arrays' own memory to the kernel: they must be C-contiguous.

        A tensor the kernel takes and `tensors` lacks is a null pointer. What it lays out ahead is laid out
        now, unless `hold` has done so.

        Raises:
            ValueError: an array is not C-contiguous, or a scalar argument has no value.
            RuntimeError: what lays out ahead reports an error.
        """
        self._tensors = dict(tensors)
        # Kept alive here: the pointers lead to them.
        self._scalars = self._point(self._pointers, self._arguments, tensors)
        if not self._held:
            self._lay_out(tensors)

    def hold(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Lays the constant inputs out ahead, once for all calls to come, whatever is bound then.

        Raises:
            ValueError, RuntimeError: as for `bind`.
        """
        self._lay_out(tensors)
        self._held = True

    def append(self, tensors: Mapping[str, np.ndarray], there: int, added: int) -> None:
        """Lays out more, which the calls that are bound from now on see.

        Raises:
            ValueError, RuntimeError: as for `bind`.
        """
        if self._growth is None or self._append is None:
            return super().append(tensors, there, added)
        self._numbers = {self._growth.along: there, ADDED: added}
        pointers = (ctypes.c_void_p * len(self._growth.arguments))()
        scalars = self._point(pointers, self._growth.arguments, tensors)
        self._check(self._append(pointers))
        del scalars  # until here they had to live
        self._numbers = {self._growth.along: there + added}
        self._held = True
        return None

    def push(self, names: Sequence[str]) -> None:
        """Lays out ahead again where one of these is what was laid out."""
        step = self._prepared
        if step is not None and any(a.name in names for a in step.arguments if a.kind == "tensor"):
            self._lay_out(self._tensors)

    def _lay_out(self, tensors: Mapping[str, np.ndarray]) -> None:
        if self._prepared is None or self._prepare is None:
            return
        pointers = (ctypes.c_void_p * len(self._prepared.arguments))()
        scalars = self._point(pointers, self._prepared.arguments, tensors)
        self._check(self._prepare(pointers))
        del scalars  # until here they had to live

    def _point(
        self, pointers: Any, arguments: Sequence[Argument], tensors: Mapping[str, np.ndarray]
    ) -> list[Any]:
        """Fills the pointers that a symbol takes; returns the scalars that they lead to."""
        scalars: list[Any] = []
        for i, argument in enumerate(arguments):
            if argument.kind == "tensor":
                array = tensors.get(argument.name)
                if array is not None and not array.flags.c_contiguous:
                    raise ValueError(f"tensor {argument.name} is not C-contiguous")
                pointers[i] = None if array is None else array.ctypes.data
                continue
            if argument.kind == "workspace":
                pointers[i] = self._workspaces[argument.name].array.ctypes.data
                continue
            value = self._numbers.get(argument.name, argument.value)
            if value is None:
                raise ValueError(f"argument {argument.name} has no value")
            scalar = _SCALARS[argument.kind](value)
            scalars.append(scalar)
            pointers[i] = ctypes.addressof(scalar)
        return scalars

    def entry(self) -> tuple[int, int] | None:
        """The library's symbol, and the array of pointers."""
        assert self._address.value is not None
        return self._address.value, ctypes.addressof(self._pointers)

    def run(self) -> None:
        """One call."""
        self._check(self._call(self._pointers))

    def sample(self, calls: int) -> float:
        """Mean seconds of `calls` calls; the loop and the clock (CLOCK_MONOTONIC) are in C."""
        seconds = ctypes.c_double()
        self._check(self._helper.time(self._address, self._pointers, calls, ctypes.byref(seconds)))
        return seconds.value

    def sample_changing(self, calls: int, changes: Changes, tensors: Mapping[str, np.ndarray]) -> float:
        """As `sample`; a store of one element before each call, in the same loop."""
        array = tensors[changes.name]
        elements = (array.ctypes.data + changes.places * array.itemsize).astype(np.uintp)
        seconds = ctypes.c_double()
        self._check(
            self._helper.time_changing(
                self._address, self._pointers, calls, elements.ctypes.data, elements.size,
                changes.values.ctypes.data, changes.values.size, array.itemsize, ctypes.byref(seconds),
            )
        )  # fmt: skip
        return seconds.value

    def damage(self) -> str | None:
        """Stray writes around its workspaces; bound arrays have guards of their own."""
        for name, workspace in self._workspaces.items():
            if damage := workspace.damage():
                return f"{name}: {damage}"
        return None

    def _check(self, status: int) -> None:
        if status != 0:
            raise RuntimeError(status_error(status))

    def read(self, name: str) -> np.ndarray:
        """The bound array itself."""
        return self._tensors[name]

    def release(self) -> None:
        """Forgets the arrays; `bind` comes before the next call."""
        self._tensors = {}
