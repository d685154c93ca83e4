"""A tuned kernel for a shape that was not tuned, by the rule of those that were."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.load import load_rows
from tuner.engine.program.tuned_kernel import TunedKernel
from tuner.engine.tuning.campaign import default_protocol
from tuner.export.adapt import adapter
from tuner.export.local import read_local
from tuner.export.rule import make_rule
from tuner.store.records import BestRow

if TYPE_CHECKING:
    from tuner.store.store import Store

_WITHIN = 0.05
_FEWEST = 2
"""Of fewer tuned shapes no rule is made: the nearest one is as good."""


def load_by_rule(
    workload: Workload, rows: Sequence[BestRow], device: Device, store: "Store", kernel: str | None,
    threads: int | None,
) -> TunedKernel | None:  # fmt: skip
    """The kernel that the rule of all tuned shapes picks; `None` where there is no rule to be made.

    A shape that was tuned here is served as `tuner.load` always does.

    Raises:
        Unavailable, BuildError: as `tuner.load`.
    """
    mine = [r for r in rows if r.device.fingerprint == device.fingerprint and kernel in (None, r.kernel.name)]
    if any(row.workload == workload and _serves(row) for row in mine):
        return load_rows(workload, mine, device, kernel)
    protocol = default_protocol(device, threads=threads)
    try:
        matrix = read_local(
            store, workload.operator, workload.dtype, device=device.fingerprint, threads=protocol.threads,
            kernels=[kernel] if kernel else (),
        )  # fmt: skip
    except TunerError:
        return None  # nothing of this dtype and thread count is stored: the nearest of anything is next
    if len(matrix.shapes) < _FEWEST:
        return None
    rule = make_rule(matrix, _WITHIN)
    picked = rule.pick(workload)
    adapt = adapter(device.target_for(protocol.threads))
    # Options that the one picked does not honour another one may.
    for choice in (picked.choice, rule.choices[rule.default], *rule.choices):
        config = adapt(choice.kernel, workload, choice.config)
        if config is None or registry.kernel(choice.kernel).unavailable():
            continue
        of = f"by the rule of {len(matrix.shapes)} tuned shapes"
        if choice is not picked.choice:
            of += f", in place of {picked.choice.kernel}, which cannot serve"
        elif not picked.sure:
            of += f", its default: {picked.why}"
        found = registry.kernel(choice.kernel)
        artifact = build_cached(found, workload, config, device.target)
        return TunedKernel(
            workload, found, config, artifact, device, trial_id=choice.trial, time_s=None,
            note=f"no measurement of {workload.key} here: {of}",
        )  # fmt: skip
    return None


def _serves(row: BestRow) -> bool:
    kernel = registry.kernels().get(row.kernel.name)
    return kernel is not None and not kernel.baseline and kernel.unavailable() is None
