"""A workload: one operator, one dtype, one shape."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import InvalidWorkload

Option = bool | int | float | str

LARGEST_DIM = 10**18 - 1
"""18 digits are less than 2^63 and far below what Python refuses to read and to print."""

_DIM = re.compile(r"([a-z_]+)([0-9]{1,18})")


def _format_option(name: str, value: Option) -> str:
    if value is True:
        return name
    if isinstance(value, float):
        return f"{name}={value!r}"
    return f"{name}={value}"


def _parse_option(text: str) -> tuple[str, Option]:
    name, separator, raw = text.partition("=")
    if not separator:
        return name, True
    if raw in ("True", "False"):
        return name, raw == "True"
    for kind in (int, float):
        try:
            return name, kind(raw)
        except ValueError:
            continue
    return name, raw


FLOATS_OF_8_BITS = ("e4m3", "e5m2")
"""OCP 8-bit Floating Point Specification 1.0: 4 bits of exponent and 3 of significand, or 5 and 2."""


def reads_as_text(value: str) -> bool:
    """Whether a text option is read back from a key as the same text, not as a number or a boolean."""
    return _parse_option(f"x={value}") == ("x", value)


@dataclass(frozen=True, slots=True)
class Workload:
    """One operator at one dtype and shape; frozen, hashable and canonical.

    Make one with `Operator.workload`, which validates and drops options that have their default
    value, so that equal workloads have equal keys. `dims` keeps the operator's order, `options`
    are sorted by name.

    >>> Workload("gemm", "f32", (("m", 64), ("n", 32), ("k", 16)), (("relu", True),)).key
    'gemm/f32/m64-n32-k16/relu'
    """

    operator: str
    dtype: str
    dims: tuple[tuple[str, int], ...]
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def key(self) -> str:
        """The stable text form, unique to the workload and readable: `gemm/f32/m64-n32-k16/relu`."""
        parts = [self.operator, self.dtype, "-".join(f"{name}{size}" for name, size in self.dims)]
        if self.options:
            parts.append(",".join(_format_option(name, value) for name, value in self.options))
        return "/".join(parts)

    @property
    def shape(self) -> str:
        """Dimensions and options as commands take them (`--shape`): `m64 n4096 k4096 relu`."""
        options = (_format_option(name, value) for name, value in self.options)
        return " ".join([*(f"{name}{size}" for name, size in self.dims), *options])

    @classmethod
    def from_key(cls, key: str) -> "Workload":
        """The inverse of `key`.

        Raises:
            InvalidWorkload: the text is not a workload key.
        """
        parts = key.split("/")
        if len(parts) not in (3, 4) or not all(parts):
            raise InvalidWorkload(f"{key!r} is not a workload key like 'gemm/f32/m64-n32-k16'")
        dims = []
        for text in parts[2].split("-"):
            match = _DIM.fullmatch(text)
            if match is None:
                raise InvalidWorkload(f"{text!r} in workload key {key!r} is not a dimension like 'm64'")
            dims.append((match[1], int(match[2])))
        options = tuple(_parse_option(text) for text in parts[3].split(",")) if len(parts) == 4 else ()
        return cls(parts[0], parts[1], tuple(dims), options)

    @property
    def element_bytes(self) -> int:
        """Bytes of one element of the dtype, which names its bits (f32 -> 4, f16 -> 2, int8 -> 1) or, as
        `e4m3`, those of exponent and significand."""
        if self.dtype in FLOATS_OF_8_BITS:
            return 1
        return int(self.dtype.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8

    def __getitem__(self, name: str) -> int:
        for key, size in self.dims:
            if key == name:
                return size
        raise KeyError(name)

    def option(self, name: str, default: Any) -> Any:
        """The value of an option, or `default` (the operator's) where the workload does not set it."""
        for key, value in self.options:
            if key == name:
                return value
        return default

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.dims)

    def __str__(self) -> str:
        return self.key
