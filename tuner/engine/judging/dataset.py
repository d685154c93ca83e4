"""Inputs, reference and tolerance of a workload, in the memory of the process that judges.

They are computed once a sweep: a float64 reference of a 1024^3 GEMM costs more than the kernel under test.
Only the inputs leave this process.
"""

import os
from dataclasses import dataclass

import numpy as np

from tuner.core.operator import Operator, Tensors
from tuner.core.workload import Workload
from tuner.engine.judging.sealed import Layout, sealed_inputs, shared_outputs

_SMALL_FLOPS = 10**7


@dataclass(frozen=True)
class Special:
    """The same workload on special values, see `Operator.special_inputs`.

    Attributes:
        reference, tolerance: outputs by name.
        sent: descriptor of the inputs, sealed.
    """

    reference: Tensors
    tolerance: Tensors
    sent: int


@dataclass(frozen=True)
class Dataset:
    """Everything needed to verify a kernel on one workload.

    Attributes:
        operator, workload: what it is for.
        layout: of its tensors.
        inputs: by name.
        mirror: a copy of the inputs, which the judge changes as it has a kernel's inputs changed.
        reference, tolerance: outputs by name, float64.
        sent: descriptor of the inputs, sealed.
        shown: descriptor of the memory that a runner writes its outputs to.
        outputs: the arrays in it.
        special: for small workloads.
    """

    operator: Operator
    workload: Workload
    layout: Layout
    inputs: Tensors
    mirror: Tensors
    reference: Tensors
    tolerance: Tensors
    sent: int
    shown: int
    outputs: Tensors
    special: Special | None

    def close(self) -> None:
        """Lets its memory go."""
        for descriptor in (self.sent, self.shown, *([self.special.sent] if self.special else [])):
            os.close(descriptor)


def compute(operator: Operator, workload: Workload, seed: int) -> Dataset:
    """The dataset of a workload for a seed.

    Raises:
        MemoryError, OSError: it does not fit in memory.
    """
    layout = Layout(tuple(operator.signature(workload)))
    inputs = {name: np.ascontiguousarray(x) for name, x in operator.inputs(workload, seed).items()}
    reference = operator.reference(workload, inputs)
    tolerance = operator.tolerance(workload, inputs, reference)
    shown, outputs = shared_outputs(layout)
    mirror = {name: values.copy() for name, values in inputs.items()}
    return Dataset(
        operator=operator,
        workload=workload,
        layout=layout,
        inputs=inputs,
        mirror=mirror,
        reference=reference,
        tolerance=tolerance,
        sent=sealed_inputs(layout, inputs),
        shown=shown,
        outputs=outputs,
        special=_special(operator, workload, layout, seed),
    )


def _special(operator: Operator, workload: Workload, layout: Layout, seed: int) -> Special | None:
    """The data of a workload on special values; `None` for a large one, whose companions are enough."""
    if operator.flops(workload) > _SMALL_FLOPS:
        return None
    inputs = operator.special_inputs(workload, seed)
    with np.errstate(all="ignore"):
        reference = operator.reference(workload, inputs)
        tolerance = operator.tolerance(workload, inputs, reference)
    return Special(reference, tolerance, sealed_inputs(layout, inputs))
