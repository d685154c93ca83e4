"""Inputs, reference and tolerance of a workload, in the memory of the process that judges.

They are computed once a sweep: a float64 reference of a 1024^3 GEMM costs more than the kernel under test.
Only the inputs leave this process.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.operator import Operator, Tensors
from tuner.core.workload import Workload
from tuner.engine.sealed import Layout, sealed_inputs, shared_outputs


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


def compute(operator: Any, workload: Workload, seed: int) -> Dataset:
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
        operator, workload, layout, inputs, mirror, reference, tolerance, sealed_inputs(layout, inputs),
        shown, outputs,
    )  # fmt: skip
