"""Tensors as Hopper's copy engine (TMA) is told of them: sizes, the box of one copy, its swizzle.

A map is an argument of a kernel like others (`Argument` of kind "map", of the tensor's name), so that whoever
carries arguments carries maps; what stands for it in memory the device makes, who knows the tensor's address.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.source import Argument

_SWIZZLES = (0, 32, 64, 128)
_MOST_BOX = 256
_LARGEST_DIM, _LARGEST_STRIDE = 2**32, 2**40


@dataclass(frozen=True, slots=True)
class TensorMap:
    """A tensor whose elements lie densely, the first dimension contiguous.

    Attributes:
        dims: elements, one to five.
        box: elements of a copy along each.
        element_bytes: 1, 2, 4 or 8.
        swizzle: bytes among which 16-byte pieces are exchanged in shared memory: 0 (none), 32, 64 or 128.
    """

    dims: tuple[int, ...]
    box: tuple[int, ...]
    element_bytes: int
    swizzle: int = 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each dimension but the first."""
        found, size = [], self.element_bytes
        for dim in self.dims[:-1]:
            size *= dim
            found.append(size)
        return tuple(found)

    def problem(self) -> str | None:
        """Why the driver does not take it (CUDA driver API, cuTensorMapEncodeTiled); `None` if it does."""
        if not 1 <= len(self.dims) <= 5 or len(self.dims) != len(self.box):
            return f"it has one to five dimensions and a box of as many, not {self.dims} and {self.box}"
        if self.element_bytes not in (1, 2, 4, 8) or self.swizzle not in _SWIZZLES:
            return f"elements have 1, 2, 4 or 8 bytes, and a swizzle is one of {_SWIZZLES}"
        if not all(1 <= dim <= _LARGEST_DIM for dim in self.dims):
            return f"a dimension has 1 to 2^32 elements, not {self.dims}"
        if not all(1 <= size <= _MOST_BOX for size in self.box):
            return f"a box has 1 to {_MOST_BOX} elements along a dimension, not {self.box}"
        row = self.box[0] * self.element_bytes
        if row % 16 or (self.swizzle and row > self.swizzle):
            most = f", {self.swizzle} at most," if self.swizzle else ""
            return f"a row of a box has a multiple of 16 bytes{most} and not {row}"
        wrong = [stride for stride in self.strides if stride % 16 or stride >= _LARGEST_STRIDE]
        return f"rows are a multiple of 16 bytes apart, not {wrong[0]}" if wrong else None

    def argument(self, tensor: str) -> Argument:
        """The argument that stands for it."""
        numbers = [*_named("dim", self.dims), *_named("box", self.box)]
        numbers += [("element_bytes", self.element_bytes), ("swizzle", self.swizzle)]
        return Argument(tensor, "map", None, tuple(Argument(name, "int64", value) for name, value in numbers))

    @classmethod
    def of(cls, argument: Argument) -> "TensorMap":
        """What an argument of kind "map" says."""
        values = [(field.name.partition(" ")[0], int(field.value or 0)) for field in argument.fields]
        dims, box = (tuple(value for name, value in values if name == which) for which in ("dim", "box"))
        rest = dict(values)
        return cls(dims, box, rest["element_bytes"], rest["swizzle"])


def _named(what: str, sizes: Sequence[int]) -> list[tuple[str, int]]:
    return [(f"{what} {i}", size) for i, size in enumerate(sizes)]
