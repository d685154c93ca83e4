"""Inputs, reference and tolerance of a workload, computed once a sweep and shared by its children.

Written by a child as `.npy` files and mapped read-only by all others: a float64 reference of a 1024^3
GEMM costs more than the kernel under test, and must not be paid a trial.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.operator import Tensors, TensorSpec
from tuner.core.workload import Workload
from tuner.engine.channel import Channel


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
    for role, tensors in (("inputs", inputs), ("reference", reference), ("tolerance", tolerance)):
        for name, tensor in tensors.items():
            np.save(partial / f"{role}-{name}.npy", np.ascontiguousarray(tensor))
    signature = [[s.name, list(s.shape), s.dtype, s.output] for s in operator.signature(workload)]
    (partial / "signature.json").write_text(json.dumps(signature))
    partial.rename(folder)


def read(folder: Path, workload: Workload) -> Dataset:
    """Maps a dataset that was written before."""
    signature = tuple(
        TensorSpec(name, tuple(shape), dtype, output)
        for name, shape, dtype, output in json.loads((folder / "signature.json").read_text())
    )

    def tensors(role: str) -> Tensors:
        paths = sorted(folder.glob(f"{role}-*.npy"))
        return {p.stem.removeprefix(f"{role}-"): np.load(p, mmap_mode="r") for p in paths}

    return Dataset(workload, signature, tensors("inputs"), tensors("reference"), tensors("tolerance"))
