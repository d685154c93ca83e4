"""Tensors in memory that has no name: passed between processes as descriptors, sealed where nobody may write.

A file could be cut short under its readers, be read by a kernel under test, and stay after a kill.
"""

import fcntl
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.operator import TensorSpec

_ALIGN = 64


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a workload lies: all inputs in one piece of memory, all outputs in another."""

    signature: tuple[TensorSpec, ...]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors a kernel writes."""
        return tuple(spec for spec in self.signature if spec.output)

    def _offsets(self, outputs: bool) -> tuple[list[tuple[TensorSpec, int]], int]:
        placed, end = [], 0
        for spec in self.signature:
            if spec.output == outputs:
                placed.append((spec, end))
                end += -(-spec.nbytes // _ALIGN) * _ALIGN
        return placed, max(end, _ALIGN)

    def placed(self, outputs: bool) -> list[tuple[TensorSpec, int]]:
        """The tensors of a piece, each with its offset in bytes."""
        return self._offsets(outputs)[0]

    @property
    def inputs_bytes(self) -> int:
        """Size of the piece with the inputs."""
        return self._offsets(False)[1]

    @property
    def outputs_bytes(self) -> int:
        """Size of the piece with the outputs."""
        return self._offsets(True)[1]

    def arrays(self, memory: mmap.mmap, outputs: bool) -> dict[str, np.ndarray]:
        """The tensors in a mapped piece, which they keep open."""
        found = {}
        for spec, offset in self.placed(outputs):
            count = spec.nbytes // np.dtype(spec.dtype).itemsize
            found[spec.name] = np.frombuffer(memory, spec.dtype, count, offset).reshape(spec.shape)
        return found

    def as_plain(self) -> list[list[Any]]:
        """As JSON values."""
        return [[s.name, list(s.shape), s.dtype, s.output] for s in self.signature]

    @classmethod
    def from_plain(cls, plain: list[list[Any]]) -> "Layout":
        """The inverse of `as_plain`."""
        return cls(
            tuple(TensorSpec(name, tuple(shape), dtype, output) for name, shape, dtype, output in plain)
        )


def _nameless(size: int) -> int:
    descriptor = os.memfd_create("tuner", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    return descriptor


def sealed_inputs(layout: Layout, inputs: Mapping[str, np.ndarray]) -> int:
    """A descriptor of the inputs, which nobody can change or cut short any more.

    Raises:
        OSError: the system has not enough memory.
    """
    descriptor = _nameless(layout.inputs_bytes)
    for spec, offset in layout.placed(outputs=False):
        rest = np.ascontiguousarray(inputs[spec.name]).reshape(-1).view(np.uint8).data
        while rest:  # a call writes 2 GiB at the most
            written = os.pwrite(descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
    fcntl.fcntl(
        descriptor, fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
    )  # fmt: skip
    return descriptor


def shared_outputs(layout: Layout) -> tuple[int, dict[str, np.ndarray]]:
    """A descriptor of memory for the outputs that cannot be cut short, and the tensors in it."""
    descriptor = _nameless(layout.outputs_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    memory = mmap.mmap(descriptor, layout.outputs_bytes)
    return descriptor, layout.arrays(memory, outputs=True)
