"""Tensors as Hopper's copy engine (TMA) is told of them: sizes, the box of one copy, its swizzle.

A map is an argument of a kernel like others (`Argument` of kind "map", of the tensor's name), so that whoever
carries arguments carries maps; what stands for it in memory the device makes, who knows the tensor's address.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.source import Argument

_SWIZZLES = (0, 32, 64, 128)
_MOST_BOX, _MOST_PIXELS, _MOST_STEP = 256, 1024, 8
_LARGEST_DIM, _LARGEST_STRIDE = 2**32, 2**40
# Bits of an offset of a window's corner, signed, by dimensions of the tensor.
_CORNER_BITS = {3: 16, 4: 8, 5: 5}


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a convolution over images, of which a copy takes the pixels under one tap ("im2col").

    The images' rows and columns are the dimensions between the channels, which are the first, and the
    images, which are the last. A window stands where its first tap does; a copy goes from window to window,
    from row to row and from image to image, and takes the pixel that lies the tap's offset further on. What
    is outside of the image arrives as zeros (PTX ISA 5.5.4, "im2col mode").

    Attributes:
        lower: where the first window of an image stands, from the first pixel on, columns first; a padding of
            two is -2.
        upper: the last place where a window may stand, from the image's last pixel on.
        steps: pixels from one window to the next, the stride.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    steps: tuple[int, ...]

    def problem(self, dims: Sequence[int]) -> str | None:
        """Why the driver does not take them (cuTensorMapEncodeIm2col) for such images; `None` if it does."""
        bits = _CORNER_BITS.get(len(dims))
        if bits is None:
            return f"images have three to five dimensions, channels and images among them, not {len(dims)}"
        if not len(self.lower) == len(self.upper) == len(self.steps) == len(dims) - 2:
            return f"windows have a corner and a step for each of {len(dims) - 2} dimensions"
        least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        if wrong := [corner for corner in (*self.lower, *self.upper) if not least <= corner <= most]:
            return f"a corner of windows is {least} to {most} pixels from the image's, not {wrong[0]}"
        if not all(1 <= step <= _MOST_STEP for step in self.steps):
            return f"windows are 1 to {_MOST_STEP} pixels apart, not {self.steps}"
        sides = zip(dims[1:-1], self.lower, self.upper, strict=True)
        if any(size - 1 + last < first for size, first, last in sides):
            return (
                f"no window stands between {self.lower} and {self.upper} of an image of {tuple(dims[1:-1])}"
            )
        return None


@dataclass(frozen=True, slots=True)
class TensorMap:
    """A tensor whose elements lie densely, the first dimension contiguous.

    Attributes:
        dims: elements, one to five.
        box: elements of a copy along each; with windows channels, and pixels.
        element_bytes: 1, 2, 4 or 8.
        swizzle: bytes among which 16-byte pieces are exchanged in shared memory: 0 (none), 32, 64 or 128.
        windows: where a copy takes pixels of images; `None`: boxes.
    """

    dims: tuple[int, ...]
    box: tuple[int, ...]
    element_bytes: int
    swizzle: int = 0
    windows: Windows | None = None

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
        if self.element_bytes not in (1, 2, 4, 8) or self.swizzle not in _SWIZZLES:
            return f"elements have 1, 2, 4 or 8 bytes, and a swizzle is one of {_SWIZZLES}"
        if problem := self._box_problem() or (self.windows.problem(self.dims) if self.windows else None):
            return problem
        if not all(1 <= dim <= _LARGEST_DIM for dim in self.dims):
            return f"a dimension has 1 to 2^32 elements, not {self.dims}"
        row = self.box[0] * self.element_bytes
        if row % 16 or (self.swizzle and row > self.swizzle):
            most = f", {self.swizzle} at most," if self.swizzle else ""
            return f"a row of a box has a multiple of 16 bytes{most} and not {row}"
        wrong = [stride for stride in self.strides if stride % 16 or stride >= _LARGEST_STRIDE]
        return f"rows are a multiple of 16 bytes apart, not {wrong[0]}" if wrong else None

    def _box_problem(self) -> str | None:
        if self.windows:
            if len(self.box) != 2:
                return f"a box of windows has channels and pixels, not {self.box}"
            if not (1 <= self.box[0] <= _MOST_BOX and 1 <= self.box[1] <= _MOST_PIXELS):
                return f"a copy takes 1 to {_MOST_BOX} channels of 1 to {_MOST_PIXELS} pixels, not {self.box}"
            return None
        if not 1 <= len(self.dims) <= 5 or len(self.dims) != len(self.box):
            return f"it has one to five dimensions and a box of as many, not {self.dims} and {self.box}"
        if not all(1 <= size <= _MOST_BOX for size in self.box):
            return f"a box has 1 to {_MOST_BOX} elements along a dimension, not {self.box}"
        return None

    def argument(self, tensor: str) -> Argument:
        """The argument that stands for it."""
        numbers = [*_named("dim", self.dims), *_named("box", self.box)]
        if self.windows:
            numbers += [*_named("lower", self.windows.lower), *_named("upper", self.windows.upper)]
            numbers += _named("step", self.windows.steps)
        numbers += [("element_bytes", self.element_bytes), ("swizzle", self.swizzle)]
        return Argument(tensor, "map", None, tuple(Argument(name, "int64", value) for name, value in numbers))

    @classmethod
    def of(cls, argument: Argument) -> "TensorMap":
        """What an argument of kind "map" says."""
        values = [(field.name.partition(" ")[0], int(field.value or 0)) for field in argument.fields]
        dims, box, lower, upper, steps = (
            tuple(value for name, value in values if name == which)
            for which in ("dim", "box", "lower", "upper", "step")
        )
        rest, windows = dict(values), Windows(lower, upper, steps) if steps else None
        return cls(dims, box, rest["element_bytes"], rest["swizzle"], windows)


def _named(what: str, sizes: Sequence[int]) -> list[tuple[str, int]]:
    return [(f"{what} {i}", size) for i, size in enumerate(sizes)]
