"""What an exported entry was measured with: enough to say later whether it still holds."""

from typing import Any

from tuner.core.workload import Workload
from tuner.store.records import BestRow


def entry_of(row: BestRow) -> dict[str, Any]:
    """A stored best configuration as plain values: what, how fast, on what, built by what, when.

    `time_s` is what the trial was ranked by, `interval_s` low, middle and high of its samples or of its
    re-measurement; `evidence` says what they are worth.
    """
    return {
        "workload": row.workload.key, "operator": row.workload.operator, "dtype": row.workload.dtype,
        "dims": dict(row.workload.dims), "options": dict(row.workload.options),
        "kernel": row.kernel.name, "kernel_digest": row.kernel.digest, "language": row.kernel.language,
        "config": dict(row.config), "target": row.target, "toolchain": row.toolchain,
        "device": row.device.name, "fingerprint": row.device.fingerprint, "device_kind": row.device.kind,
        "driver": str(row.device.facts.get("driver", "")), "threads": row.threads, "cache": row.cache,
        "time_s": row.time_s, "interval_s": [row.interval.low, row.interval.mid, row.interval.high],
        "evidence": row.evidence, "artifact": row.artifact, "trial": row.trial_id,
        **({"timer": row.timer} if row.timer else {}),
        **({"between_bytes": row.between_bytes} if row.between_bytes else {}),
        "measured_at": row.measured_at.isoformat(),
    }  # fmt: skip


def same_but_dims(workload: Workload) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
    """What two workloads share that differ in their dimensions alone."""
    return workload.operator, workload.dtype, workload.options
