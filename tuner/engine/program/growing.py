"""A loaded kernel whose weights grow while a program runs: keys and values of the tokens so far."""

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.device import Executable
from tuner.core.operator import TensorSpec
from tuner.core.source import Growth
from tuner.core.workload import Workload
from tuner.engine.program.arrays import as_input

_caches: "weakref.WeakSet[GrowingKernel]" = weakref.WeakSet()


def _in_child() -> None:
    """A thread that held a lock at the fork is not in the child, and would hold it for ever."""
    for cache in _caches:
        cache._lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


class GrowingKernel:
    """A kernel with a cache of its own, made by `TunedKernel.growing`: empty at first, `append` fills it.

    >>> cache = tuner.load("attention", b=1, h=8, q=1, kv=4096, d=64, frozen=True).growing()  # doctest: +SKIP
    >>> cache.append(K=k, V=v)  # [1, 8, n, 64] each: n more tokens  # doctest: +SKIP
    >>> o = cache(q)  # over all tokens so far  # doctest: +SKIP

    It computes what the workload says with as many entries along `along` as are there. Threads may share it:
    calls and appends come one after the other. A forked child goes on with a cache of its own. It cannot be
    pickled or copied.

    Args:
        workload, kernel: as below.
        call: runs the executable on the inputs that are no weights, as a `TunedKernel` is called.
        executable: of this cache alone.
        growth: of its artifact.
        weights: what grows.

    Attributes:
        workload: whose size along `along` is the room of the cache.
        kernel: name of the implementation.
        along: the dimension that grows.
        room: how many entries there may be.
    """

    def __init__(
        self, workload: Workload, kernel: str, call: Callable[..., Any], executable: Executable,
        growth: Growth, weights: Sequence[TensorSpec],
    ) -> None:  # fmt: skip
        self.workload, self.kernel, self.along = workload, kernel, growth.along
        self.room = workload[growth.along]
        self._call, self._executable, self._length = call, executable, 0
        self._axes = {spec.name: _axis(self.workload, growth.along, spec) for spec in weights}
        self._specs = {spec.name: spec for spec in weights}
        self._lock = threading.Lock()
        _caches.add(self)

    @property
    def length(self) -> int:
        """How many entries are there."""
        return self._length

    def append(self, *arrays: Any, **weights: Any) -> None:
        """Lays more entries out behind those that are there; none of these moves.

        Args:
            *arrays: as `weights`, in the order of the operator's signature: `append(k, v)`.
            **weights: by name, each as the workload has it, but for its size along `along`: how many more.

        Raises:
            TypeError: one is missing or given twice, a name is no weight's, or something is no array.
            ValueError: an array of the wrong shape or dtype, of another number of entries than the others, or
                more than there is room for; nothing has changed.
            RuntimeError: the kernel reports an error.
        """
        tensors, added = self._checked(self._named(arrays, weights))
        with self._lock:
            if self._length + added > self.room:
                raise ValueError(
                    f"{added} more do not fit: {self._length} of {self.along} {self.room} are there; load a "
                    f"larger {self.along}"
                )
            if added:
                self._executable.append(tensors, self._length, added)
                self._length += added

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        """The output for the other inputs, over all entries that are there.

        Raises:
            ValueError: nothing is there yet; else as for a `TunedKernel`.
            InvalidWorkload: the workload does not hold for so few entries.
            TypeError, RuntimeError: as for a `TunedKernel`.
        """
        with self._lock:
            if not self._length:
                raise ValueError(f"{self!r} is empty: append {' and '.join(self._specs)} first")
            self._require_valid()
            return self._call(*arrays, out=out, **named)

    def __repr__(self) -> str:
        count = f"{self._length} of {self.room} along {self.along}"
        return f"<GrowingKernel {self.workload.key} by {self.kernel}: {count}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is not pickled or copied: its cache is in the kernel's own layout")

    def _require_valid(self) -> None:
        workload = self.workload
        dims = tuple((name, self._length if name == self.along else size) for name, size in workload.dims)
        registry.operator(workload.operator).validate(replace(workload, dims=dims))

    def _named(self, arrays: Sequence[Any], weights: Mapping[str, Any]) -> dict[str, Any]:
        names = list(self._specs)
        if len(arrays) > len(names):
            raise TypeError(f"append takes {len(names)} arrays ({', '.join(names)}), not {len(arrays)}")
        given = dict(zip(names, arrays, strict=False))
        if twice := next((name for name in given if name in weights), None):
            raise TypeError(f"array {twice} is given twice: in its place and by name")
        return {**given, **weights}

    def _checked(self, weights: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], int]:
        key, names = self.workload.key, " and ".join(self._specs)
        if unknown := sorted(weights.keys() - self._specs.keys()):
            raise TypeError(f"unexpected array {unknown[0]!r}: {names} grow")
        if missing := [name for name in self._specs if name not in weights]:
            raise TypeError(f"array {missing[0]} is missing: {names} grow together")
        tensors, added = {}, None
        for name, spec in self._specs.items():
            axis, shape = self._axes[name], _shape(spec, weights[name], key)
            if len(shape) != len(spec.shape):
                wanted = [self.along if i == axis else size for i, size in enumerate(spec.shape)]
                raise ValueError(
                    f"array {name} is of shape {list(shape)}, appended are [{', '.join(map(str, wanted))}]"
                )
            count = shape[axis]
            if added is not None and count != added:
                raise ValueError(f"array {name} has {count} along {self.along}, the others {added}")
            added = count
            sized = replace(spec, shape=(*spec.shape[:axis], count, *spec.shape[axis + 1 :]))
            tensors[name] = as_input(sized, weights[name], key)
        return tensors, added or 0


def _shape(spec: TensorSpec, given: Any, workload: str) -> tuple[int, ...]:
    try:
        return np.shape(given)
    except Exception:  # no array; `as_input` says why
        return as_input(spec, given, workload).shape


def _axis(workload: Workload, along: str, spec: TensorSpec) -> int:
    """The axis of a tensor that is as long as a dimension says."""
    longer = tuple((name, size + (name == along)) for name, size in workload.dims)
    others = registry.operator(workload.operator).signature(replace(workload, dims=longer))
    shape = next(other.shape for other in others if other.name == spec.name)
    return next(i for i, sizes in enumerate(zip(spec.shape, shape, strict=True)) if sizes[0] != sizes[1])
