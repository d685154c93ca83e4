"""A few elements of a workload's result, and all that they depend on: what is cheap to compute anew.

While a kernel is timed its inputs change in place, so that a kernel which answers from memory is wrong. What
is right then has to be known within a millisecond: a 1024 x 1024 x 1024 GEMM in float64 takes 25, 8 rows by 8
columns of it 0.05.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tuner.core.dtypes import dtype_named, floating
from tuner.core.tensors import Tensors, TensorSpec
from tuner.core.workload import Workload

_OUTPUTS = 256


class Definition(Protocol):
    """What is needed of an operator: see `tuner.core.operator.Operator`."""

    def signature(self, workload: Workload) -> Sequence[TensorSpec]:
        """Its tensors."""

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """What is right, in float64."""

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """By how much a result may be off."""


@dataclass(frozen=True)
class Excerpt:
    """Elements of the outputs that a smaller workload of the same operator computes.

    Attributes:
        workload: the smaller one; its outputs, flattened, are the elements in order.
        gather: makes its inputs of the whole ones.
        outputs: flat indices of the elements in the whole outputs, by name.
        inputs: flat indices of those elements of the whole inputs that they depend on and that may be
            changed, by name.
        picked: which of the smaller workload's outputs the elements are, by name; absent: all of them.
    """

    workload: Workload
    gather: Callable[[Tensors], Tensors]
    outputs: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    picked: Mapping[str, np.ndarray] | None = None

    def expected(self, operator: Definition, inputs: Tensors) -> tuple[Tensors, Tensors]:
        """What the elements are for these whole inputs, float64, and the error allowed to each; flat."""
        own = self.gather(inputs)
        reference = operator.reference(self.workload, own)
        tolerance = operator.tolerance(self.workload, own, reference)
        values, allowed = {}, {}
        for name in self.outputs:
            whole = np.broadcast_to(tolerance[name], reference[name].shape)
            values[name], allowed[name] = reference[name].reshape(-1), whole.reshape(-1)
            if self.picked is not None:
                values[name], allowed[name] = (
                    values[name][self.picked[name]],
                    allowed[name][self.picked[name]],
                )
        return values, allowed


def flat_indices(shape: tuple[int, ...], *axes: "np.ndarray | int | slice") -> np.ndarray:
    """Flat indices of the outer product of an index an axis (an integer, an array, or all of it), in order.

    `flat_indices((4, 6), [1, 2], slice(None))` are the 12 elements of rows 1 and 2.
    """
    chosen = [
        np.arange(size)[axis] if isinstance(axis, slice) else np.atleast_1d(axis)
        for size, axis in zip(shape, axes, strict=True)
    ]
    return np.asarray(np.ravel_multi_index(np.ix_(*chosen), shape)).reshape(-1)


def changeable(dtype: str) -> bool:
    """Whether other values of a tensor's own may take an element's place: not where integers are indices."""
    kind = dtype_named(dtype)
    return floating(kind) or kind == np.int8


def whole(operator: Definition, workload: Workload, rng: np.random.Generator) -> Excerpt:
    """Some of all outputs, by computing all: right for any operator, and as slow as its reference."""
    signature = operator.signature(workload)
    outputs = {}
    for spec in signature:
        if spec.output:
            size = int(np.prod(spec.shape, dtype=object))
            outputs[spec.name] = np.unique(rng.integers(size, size=min(size, _OUTPUTS)))
    inputs = {
        spec.name: np.arange(int(np.prod(spec.shape, dtype=object)))
        for spec in signature
        if not spec.output and changeable(spec.dtype)
    }
    return Excerpt(workload, dict, outputs, inputs, outputs)
