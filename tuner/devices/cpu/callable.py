"""Loads artifacts of format `callable`: a library call on the tensors themselves."""

import importlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter_ns

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.changes import Changes
from tuner.core.device import Executable
from tuner.core.workload import Workload


class CallableExecutable(Executable):
    """A library call; see `load`."""

    def __init__(
        self, factory: Callable[..., Callable[[], object]], workload: Workload, threads: int
    ) -> None:
        self._factory, self._workload, self._threads = factory, workload, threads
        self._call: Callable[[], object] | None = None
        self._tensors: Mapping[str, np.ndarray] = {}

    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Makes the call for these arrays: sessions, views and thread counts, all untimed."""
        self._tensors = dict(tensors)
        self._call = self._factory(self._workload, self._tensors, self._threads)

    def run(self) -> None:
        """One call."""
        assert self._call is not None, "bind comes first"
        self._call()

    def sample(self, calls: int) -> float:
        """Mean seconds of `calls` calls; the loop itself costs some 20 ns a call."""
        assert self._call is not None, "bind comes first"
        call = self._call
        start = perf_counter_ns()
        for _ in range(calls):
            call()
        return (perf_counter_ns() - start) * 1e-9 / calls

    def sample_changing(self, calls: int, changes: Changes, tensors: Mapping[str, np.ndarray]) -> float:
        """As `sample`; what the changes alone take (some 0.15 us each) is timed too and taken off."""
        assert self._call is not None, "bind comes first"
        array = tensors[changes.name]
        changes.apply(tensors, min(calls, 1))
        memory, size = array.reshape(-1).view(np.uint8).data, array.itemsize
        values = changes.values.tobytes()
        cycle = [
            (slice(place * size, (place + 1) * size), values[v * size : (v + 1) * size])
            for v, place in enumerate(np.resize(changes.places, changes.values.size).tolist())
        ]
        steps = (cycle * -(-calls // len(cycle)))[:calls]
        call = self._call
        start = perf_counter_ns()
        for place, value in steps:
            memory[place] = value
            call()
        spent = perf_counter_ns() - start
        # The stores alone, the fastest of a few short runs: whatever interrupts one of them is not theirs.
        few, alone = steps[:64], spent
        for _ in range(3):
            start = perf_counter_ns()
            for place, value in few:
                memory[place] = value
            alone = min(alone, perf_counter_ns() - start)
        changes.apply(tensors, calls)  # as the last call found it
        return max(spent - alone * calls / len(few), 0.5 * spent) * 1e-9 / calls

    def read(self, name: str) -> np.ndarray:
        """The bound array."""
        return self._tensors[name]

    def metrics(self) -> Mapping[str, float]:
        """`blas:OpenBLAS/0.3.31/SkylakeX` = threads, one entry a BLAS or OpenMP library in the process."""
        import threadpoolctl

        found = {}
        for pool in threadpoolctl.threadpool_info():
            parts = (pool["internal_api"], pool.get("version"), pool.get("architecture"))
            found[f"{pool['user_api']}:" + "/".join(str(p) for p in parts if p)] = float(pool["num_threads"])
        return found


def load(artifact: Artifact, cores: int) -> CallableExecutable:
    """Imports the factory.

    Args:
        artifact: what the builder `python` made.
        cores: it is given the artifact's threads, but no more than these. The process' affinity does not say:
            an OpenMP runtime that is told places (torch brings one in) pins the main thread to the first.

    Raises:
        RuntimeError: the record or the library cannot be loaded.
    """
    try:
        record = json.loads(artifact.path.read_text())
        module, _, function = record["factory"].partition(":")
        factory = getattr(importlib.import_module(module), function)
        factory = partial(factory, config=record["config"]) if "config" in record else factory
        for library in record["libraries"]:
            importlib.import_module(library)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise RuntimeError(f"cannot load {artifact.entry}: {type(error).__name__}: {error}") from error
    return CallableExecutable(factory, Workload.from_key(record["workload"]), min(artifact.threads, cores))
