"""Measures what a table lacks: each shape's fastest configurations at every other shape."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.device import Device
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.campaign import check_memory, fresh_seed
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.peaks import calibration_reference
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.export.matrix import Matrix

if TYPE_CHECKING:
    from tuner.store.store import Store


def gaps(matrix: Matrix) -> dict[tuple[str, int], list[Config]]:
    """The configurations to measure, by kernel and column; each once."""
    found: dict[tuple[str, int], list[Config]] = {}
    for row, column in matrix.missing:
        configs = found.setdefault((matrix.choices[row].kernel, column), [])
        config = dict(matrix.config_at(row, column))
        if config not in configs:
            configs.append(config)
    return found


def fill(matrix: Matrix, device: Device, protocol: Protocol, store: "Store", observer: Observer) -> bool:
    """Measures the gaps on this device and stores them as trials of sweeps with the searcher `given`.

    Args:
        matrix: of this device, with these threads.
        device, protocol: what to measure on, and how.
        store: keeps every trial.
        observer: is told.

    Returns:
        Whether all was measured; `False` after Ctrl-C.

    Raises:
        TunerError: a shape does not fit in memory.
        MachineFault: the machine failed; what was measured is stored.
    """
    wanted = {(name, matrix.shapes[column]): configs for (name, column), configs in gaps(matrix).items()}
    protocol = replace(protocol, threads=matrix.group.threads, cache=matrix.group.cache)
    return time_all(wanted, device, protocol, store, observer)


def time_all(
    wanted: Mapping[tuple[str, Workload], Sequence[Config]], device: Device, protocol: Protocol,
    store: "Store", observer: Observer,
) -> bool:  # fmt: skip
    """Times configurations, by kernel and shape, in sweeps with the searcher `given`.

    What is stored is reused.

    Returns, raises: as `fill`.
    """
    if not wanted:
        return True
    kernels = {name: registry.kernel(name) for name, _ in wanted}
    with Workshop(device, protocol, fresh_seed()) as workshop:
        workshop.warm(list(kernels.values()))
        for number, ((name, workload), configs) in enumerate(wanted.items(), 1):
            check_memory(workload, device)
            observer.note(
                f"{number} of {len(wanted)}: {len(configs)} configurations of {name} at {workload.key}"
            )
            reference_s = calibration_reference(workshop, store, observer.note, workload)
            request = SweepRequest(
                kernels[name], workload, "given", budget=Budget(trials=len(configs)),
                options={"configs": _listed(configs)},
            )  # fmt: skip
            result = Sweep(request, workshop, store, observer, reference_s).run()
            if result.interrupted:
                return False
            if all(later != workload for _, later in list(wanted)[number:]):
                workshop.forget(registry.operator(workload.operator), workload)
    return True


def _listed(configs: Sequence[Config]) -> list[Config]:
    return [dict(config) for config in configs]
