"""Inputs, reference and tolerance of a workload, computed once a sweep and shared by its children.

Written by a child and mapped read-only by all others: a float64 reference of a 1024^3 GEMM costs more than
the kernel under test, and must not be paid a trial. One file for all tensors: of a GEMM four files
took 2.1 ms a trial to open, one takes 0.6.
"""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.operator import Tensors, TensorSpec
from tuner.core.workload import Workload
from tuner.engine.channel import Channel

_ROLES = ("inputs", "reference", "tolerance")
_ALIGN = 64
_DATA, _LAYOUT = "tensors.bin", "layout.json"


@dataclass(frozen=True)
class Dataset:
    """Everything needed to verify a kernel on one workload.

    Attributes:
        workload: what it is for.
        signature: its tensors.
        inputs: by name, read-only.
        reference, tolerance: outputs by name, float64, read-only.
    """

    workload: Workload
    signature: tuple[TensorSpec, ...]
    inputs: Tensors
    reference: Tensors
    tolerance: Tensors

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors a kernel writes."""
        return tuple(spec for spec in self.signature if spec.output)


def folder_of(root: Path, workload: Workload, seed: int) -> Path:
    """Where the dataset of a workload and seed lies under `root`."""
    return root / f"{workload.key.replace('/', '_')}-{seed}"


def write_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: writes the dataset of `operator` and `workload` for `seed` into `folder`."""
    operator, workload, seed = payload["operator"], payload["workload"], payload["seed"]
    write(operator, workload, seed, Path(payload["folder"]))
    channel.send("done")


def write(operator: Any, workload: Workload, seed: int, folder: Path) -> None:
    """Computes and writes a dataset; it exists as a whole or not at all."""
    inputs = operator.inputs(workload, seed)
    reference = operator.reference(workload, inputs)
    tolerance = operator.tolerance(workload, inputs, reference)
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    placed: list[list[Any]] = []
    with (partial / _DATA).open("wb") as file:
        for role, tensors in zip(_ROLES, (inputs, reference, tolerance), strict=True):
            for name, tensor in tensors.items():
                file.write(bytes(-file.tell() % _ALIGN))
                placed.append([role, name, str(tensor.dtype), list(tensor.shape), file.tell()])
                file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    signature = [[s.name, list(s.shape), s.dtype, s.output] for s in operator.signature(workload)]
    (partial / _LAYOUT).write_text(json.dumps({"signature": signature, "tensors": placed}))
    partial.rename(folder)


def read(folder: Path, workload: Workload) -> Dataset:
    """Maps a dataset that was written before."""
    layout = json.loads((folder / _LAYOUT).read_text())
    signature = tuple(
        TensorSpec(name, tuple(shape), dtype, output) for name, shape, dtype, output in layout["signature"]
    )
    with (folder / _DATA).open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # the arrays keep it open
    found: dict[str, dict[str, np.ndarray]] = {role: {} for role in _ROLES}
    for role, name, dtype, shape, offset in layout["tensors"]:
        count = int(np.prod(shape, dtype=object))
        found[role][name] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
    return Dataset(workload, signature, found["inputs"], found["reference"], found["tolerance"])
