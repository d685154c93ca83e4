"""Tuned kernels for somebody's own program: compiled once, cached on disk, called on NumPy arrays."""

import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.cache import cache_folder
from tuner.core.device import Device
from tuner.core.digest import digest
from tuner.core.errors import InvalidConfig, InvalidSpace, InvalidWorkload, Unavailable
from tuner.core.kernel import Kernel
from tuner.core.operator import TensorSpec
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.build_process import artifact_from_plain, artifact_to_plain
from tuner.store.records import BestRow


class NearestConfiguration(UserWarning):
    """No stored configuration fits exactly; the message says which one is used instead."""


class TunedKernel:
    """A compiled kernel; call it with the operator's inputs.

    Arrays are given in the order of the operator's signature or by name (`kernel(A, B)`,
    `kernel(A=a, B=b, out=d)`); dtypes and shapes must be the workload's. Inputs that are not
    C-contiguous are copied. Not for concurrent calls: load one a thread.

    Attributes:
        workload: what it computes.
        kernel: name of the implementation.
        config: its parameters.
        trial_id: the stored trial the configuration comes from.
        exact: whether that trial was of this workload on this device with this source.
        note: where not exact, what was used instead.
    """

    def __init__(
        self, workload: Workload, kernel: Kernel, config: Config, row: BestRow, artifact: Artifact,
        device: Device, note: str,
    ) -> None:  # fmt: skip
        self.workload, self.kernel, self.config = workload, kernel.name, dict(config)
        self.trial_id, self.exact, self.note = row.trial_id, not note, note
        self.time_s = row.time_s if not note else None
        signature = registry.operator(workload.operator).signature(workload)
        self._inputs = [spec for spec in signature if not spec.output]
        self._outputs = [spec for spec in signature if spec.output]
        self._executable = device.load(artifact)

    def __repr__(self) -> str:
        config = " ".join(f"{k}={v}" for k, v in self.config.items())
        return f"<TunedKernel {self.workload.key} by {self.kernel}: {config}>"

    def __call__(self, *arrays: np.ndarray, out: np.ndarray | None = None, **named: np.ndarray) -> np.ndarray:
        """Computes; returns the output, which is `out` if given.

        Raises:
            TypeError: too many or too few arrays, an unknown name.
            ValueError: an array of the wrong shape or dtype; `out` is not C-contiguous.
        """
        names = [spec.name for spec in self._inputs]
        if len(arrays) > len(names):
            raise TypeError(
                f"{self.workload.key} takes {len(names)} arrays ({', '.join(names)}), not {len(arrays)}"
            )
        given = dict(zip(names, arrays, strict=False))
        for name, array in named.items():
            if name not in names or name in given:
                raise TypeError(f"unexpected array {name!r}; {self.workload.key} takes {', '.join(names)}")
            given[name] = array
        tensors = {}
        for spec in self._inputs:
            if spec.name not in given:
                raise TypeError(f"{self.workload.key} needs array {spec.name} of shape {spec.shape}")
            tensors[spec.name] = np.ascontiguousarray(self._checked(spec, given[spec.name]))
        (result,) = self._outputs
        if out is None:
            out = np.empty(result.shape, result.dtype)
        elif not self._checked(result, out).flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous, {result.dtype}{list(result.shape)}")
        tensors[result.name] = out
        self._executable.bind(tensors)
        self._executable.run()
        return out

    def _checked(self, spec: TensorSpec, array: np.ndarray) -> np.ndarray:
        if tuple(array.shape) != spec.shape or array.dtype != np.dtype(spec.dtype):
            raise ValueError(
                f"array {spec.name} is {array.dtype}{list(array.shape)}, {self.workload.key} needs "
                f"{spec.dtype}{list(spec.shape)}"
            )
        return array


def build_cached(kernel: Kernel, workload: Workload, config: Config, target: Target) -> Artifact:
    """The artifact of a configuration, from the cache where it was built before.

    Two processes may build the same one at once: each builds in a folder of its own, and the first to
    finish puts it in place.

    Raises:
        BuildError: it does not compile.
    """
    builder = registry.builder(kernel.language)
    identity = digest(
        [workload.key, kernel.digest, dict(config), target.name, list(target.features),
         sorted(target.limits.items()), builder.toolchain(target).digest]
    )  # fmt: skip
    place = cache_folder() / "kernels" / identity
    if not (place / "artifact.json").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{identity}."))
        try:
            artifact = builder.build(kernel.lower(workload, config, target), target, partial)
            plain = artifact_to_plain(artifact)
            plain["path"] = str(artifact.path.relative_to(partial))
            (partial / "artifact.json").write_text(json.dumps(plain))
            try:
                partial.rename(place)
            except OSError:
                if not (place / "artifact.json").exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    artifact = artifact_from_plain(json.loads((place / "artifact.json").read_text()))
    return replace(artifact, path=place / artifact.path)


def distance(a: Workload, b: Workload) -> float:
    """How unlike two shapes are: Euclidean distance of the logarithms of their dimensions."""
    theirs = dict(b.dims)
    return math.sqrt(sum(math.log2(size / theirs[name]) ** 2 for name, size in a.dims))


def choose(
    workload: Workload, rows: Sequence[BestRow], device: Device, target: Target, kernel_name: str | None
) -> tuple[BestRow, Kernel, Config, str]:
    """The stored configuration to use for a workload: (row, kernel, configuration, note).

    The fastest one of this very workload on this device; else that of the nearest shape (of the same
    options first, then of any) whose configuration is valid here; where none is, the nearest one's,
    adapted (`SearchSpace.nearest`). Another device's only where this one has none. The note is empty for an
    exact match.

    Raises:
        Unavailable: nothing stored can serve.
    """
    candidates = []
    for row in rows:
        if row.workload.operator != workload.operator or row.workload.dtype != workload.dtype:
            continue
        kernel = registry.kernels().get(row.kernel.name)
        if kernel is None or kernel.baseline or kernel.unavailable() or kernel.unsupported(workload, target):
            continue
        if kernel_name not in (None, kernel.name) or (kernel.searcher and row.workload != workload):
            continue  # a trace is of one workload alone
        foreign = row.device.fingerprint != device.fingerprint
        unlike = row.workload.options != workload.options
        far = distance(workload, row.workload)
        # Among equally near shapes the faster kernel wins.
        candidates.append(((foreign, far + 0.1 * unlike, row.time_s), row, kernel))
    candidates.sort(key=lambda c: c[0])
    # First what is valid as it is; only then what has to be adapted.
    passes = [(c, repair) for repair in (False, True) for c in candidates]
    for ((foreign, far, _), row, kernel), repair in passes:
        config = _valid(kernel, workload, row.config, target, repair)
        if config is None:
            continue
        notes = ["adapted to the nearest configuration that is valid"] if repair else []
        if far:
            notes.append(f"nearest stored configuration, of {row.workload.key}")
        if foreign:
            notes.append(f"measured on {row.device.name}")
        if row.kernel.digest != kernel.digest:
            notes.append("the kernel's source has changed since")
        note = f"no measurement of {workload.key} here: " + "; ".join(notes) if notes else ""
        return row, kernel, config, note
    what = f"kernel {kernel_name}" if kernel_name else "any kernel"
    raise Unavailable(
        f"nothing stored of {what} for {workload.operator}/{workload.dtype} can serve {workload.key}: "
        f"run 'tuner sweep {workload.operator} --shape {'x'.join(str(s) for _, s in workload.dims)}' first"
    )


def _valid(kernel: Kernel, workload: Workload, config: Config, target: Target, repair: bool) -> Config | None:
    try:
        space = kernel.space(workload, target)
        return space.nearest(config) if repair else space.check(config)
    except (InvalidConfig, InvalidSpace, InvalidWorkload):
        return None


def load_rows(
    workload: Workload, rows: Sequence[BestRow], device: Device, kernel_name: str | None = None
) -> TunedKernel:
    """Chooses, builds or takes from the cache, and loads; warns where the match is not exact."""
    row, kernel, config, note = choose(workload, rows, device, device.target, kernel_name)
    if note:
        warnings.warn(note, NearestConfiguration, stacklevel=3)
    artifact = build_cached(kernel, workload, config, device.target)
    return TunedKernel(workload, kernel, config, row, artifact, device, note)
