"""Inputs, reference and tolerance of a workload, in the memory of the process that judges.

They are computed once a sweep: a float64 reference of a 1024^3 GEMM costs more than the kernel under test.
Only the inputs leave this process. A dataset does not travel to other hosts: a `DatasetRequest` does, and the
dataset is made again from its seed there, with a look at whether the inputs are the same.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import FROZEN
from tuner.core.operator import Operator, Tensors
from tuner.core.workload import Workload
from tuner.engine.judging.sealed import Layout, sealed_inputs, shared_outputs

_SMALL_FLOPS = 10**7


class DatasetDiffers(TunerError):
    """A dataset that was made again has other inputs than the one asked for."""


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset, to be made anywhere.

    Attributes:
        operator: its name.
        workload: its key.
        seed: of the inputs.
        inputs: `input_digest` of the inputs; empty where whoever asks has not computed them: then nothing is
            compared.
    """

    operator: str
    workload: str
    seed: int
    inputs: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DatasetRequest":
        """The inverse of `as_dict`.

        Raises:
            TunerError: a value is missing or of another type.
        """
        texts = [values.get(name) for name in ("operator", "workload", "inputs")]
        seed = values.get("seed")
        if not all(isinstance(text, str) for text in texts) or type(seed) is not int:
            raise TunerError(
                "a dataset is asked for by operator, workload and inputs (texts) and seed (a number)"
            )
        return cls(str(texts[0]), str(texts[1]), seed, str(texts[2]))


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

    @property
    def activations(self) -> list[str]:
        """Inputs that a model writes anew before each call: all but frozen weights."""
        weights = self.operator.weights if self.workload.option(FROZEN, False) else ()
        return [name for name in self.inputs if name not in weights]

    def close(self) -> None:
        """Lets its memory go."""
        for descriptor in (self.sent, self.shown, *([self.special.sent] if self.special else [])):
            os.close(descriptor)


def input_digest(inputs: Tensors) -> str:
    """The SHA-256 of tensors: names, dtypes, shapes and every byte, in hexadecimal."""
    state = hashlib.sha256()
    for name in sorted(inputs):
        values = np.ascontiguousarray(inputs[name])
        state.update(f"{name} {values.dtype.name} {values.shape}\n".encode())
        state.update(values.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def request_for(operator: Operator, workload: Workload, seed: int) -> DatasetRequest:
    """The request for a dataset with the digest of its inputs, which are computed here once for that."""
    return DatasetRequest(operator.name, workload.key, seed, input_digest(operator.inputs(workload, seed)))


def remake(request: DatasetRequest, operator: Operator | None = None) -> Dataset:
    """The dataset that is asked for.

    Args:
        request: from anywhere.
        operator: where it is at hand; by default the registered one of the name.

    Raises:
        DatasetDiffers: the inputs are others here: the operator's source, or NumPy's generators, differ.
        UnknownName: there is no such operator here.
        MemoryError, OSError: it does not fit in memory.
    """
    found = compute(
        operator or registry.operator(request.operator), Workload.from_key(request.workload), request.seed
    )
    if request.inputs and (here := input_digest(found.inputs)) != request.inputs:
        found.close()
        raise DatasetDiffers(
            f"the inputs of {request.workload} from seed {request.seed} are others here ({here[:16]}, not "
            f"{request.inputs[:16]}): the lab or NumPy is of another version (NumPy {np.__version__} here)"
        )
    return found


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
