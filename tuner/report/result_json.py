"""`result.json`: what a comparison measured, with all that somebody needs to measure it again.

The form is described in docs/result-file.md and held by `tuner/core/result.schema.json`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuner.core.disturbance import TAKEN
from tuner.core.lab_state import lab_state
from tuner.core.result_form import FORMAT, VERSION
from tuner.report.campaign_view import EntryView, KernelView, PartView, view
from tuner.report.records_json import interval_list
from tuner.report.verdict import default_sentences, verdict
from tuner.store.campaign_records import StoredCampaign

if TYPE_CHECKING:
    from tuner.store.store import Store


def result_json(campaigns: Sequence[StoredCampaign], store: "Store") -> dict[str, Any]:
    """The document of one comparison.

    Args:
        campaigns: of one experiment; several where it was run with several thread counts.
        store: holds their sweeps and finals.

    Raises:
        UnknownName: an operator is not registered here.
        StoreError: the database fails.
    """
    first = campaigns[0].spec
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": first.title,
        "experiment": first.experiment or None,
        "command": first.command or None,
        "written_by": lab_state(),
        "campaigns": [_campaign(campaign, store) for campaign in campaigns],
    }


def _campaign(campaign: StoredCampaign, store: "Store") -> dict[str, Any]:
    spec = campaign.spec
    layers = {layer.workload: layer for layer in spec.layers}
    return {
        "campaign": campaign.id,
        "state": campaign.state,
        "kind": spec.kind,
        "asked": dict(spec.asked),
        "device": {
            "kind": spec.device.kind, "name": spec.device.name, "fingerprint": spec.device.fingerprint,
            "target": spec.device.target, "facts": dict(spec.device.facts),
        },
        "target": spec.target,
        "protocol": {**spec.protocol.as_dict(), "digest": spec.protocol.digest},
        "lab": dict(spec.facts),
        "started_at": campaign.started_at.isoformat(),
        "finished_at": campaign.finished_at.isoformat() if campaign.finished_at else None,
        "workloads": [
            {**_part(view(campaign, part, store), store),
             "count": layers[part.workload.key].count if part.workload.key in layers else 1}
            for part in campaign.reached
        ],
    }  # fmt: skip


def _part(part: PartView, store: "Store") -> dict[str, Any]:
    record, workload = part.part, part.workload
    return {
        "workload": workload.key,
        "operator": workload.operator,
        "dtype": workload.dtype,
        "dims": dict(workload.dims),
        "options": dict(workload.options),
        "status": record.status,
        "flops": part.flops,
        "bytes": part.bytes,
        "limits": dict(record.limits),
        "limits_disturbed": record.peaks_disturbed,
        "final": _final(part, store),
        "kernels": [_kernel(kernel, store) for kernel in part.kernels],
        "skipped": {kernel.name: kernel.skipped for kernel in record.kernels if kernel.skipped},
        "excluded": [
            {"kernel": e.kernel, "trial": e.trial_id, "stage": e.stage, "reason": e.reason}
            for e in record.exclusions
        ],
    }  # fmt: skip


def _final(part: PartView, store: "Store") -> dict[str, Any] | None:
    if part.final is None:
        return None
    created = part.final.created_at
    return {
        "measured_at": created.isoformat() if created else None,
        "disturbed": part.disturbed or None,
        "busy": next((r for r in part.part.remarks if r.startswith(TAKEN)), None),
        "remarks": list(part.part.remarks),
        "verdict": " ".join([verdict(part), *default_sentences(part)]),
        "reference": part.reference.trial_id if part.reference else None,
        "entries": [_entry(entry, store) for entry in part.timed],
    }


def _entry(entry: EntryView, store: "Store") -> dict[str, Any]:
    detail = store.trial(entry.trial_id)
    name, version, flags = detail.toolchain
    return {
        "kernel": entry.kernel,
        "language": entry.language,
        "source": detail.kernel.digest,
        "config": dict(entry.config),
        "target": detail.trial.key.target,
        "toolchain": {
            "digest": detail.trial.key.toolchain, "name": name, "version": version, "flags": list(flags),
        },
        "artifact": detail.trial.measurement.artifact or None,
        "trial": entry.trial_id,
        "baseline": entry.baseline,
        "default": entry.default,
        "winner": entry.winner,
        "tie": entry.tie,
        "beaten": entry.beaten,
        "time_s": interval_list(entry.interval),
        "speedup": interval_list(entry.speedup),
        "samples_s": list(entry.turns.samples),
        "processes": list(entry.turns.processes),
    }  # fmt: skip


def _kernel(kernel: KernelView, store: "Store") -> dict[str, Any]:
    record = kernel.record
    assert record.sweep_id is not None, "the caller took those that were reached"
    return {
        "kernel": record.name,
        "source": record.digest,
        "language": record.language,
        "baseline": record.baseline,
        "searcher": record.searcher,
        "reused": record.reused,
        "given_up": record.given_up or None,
        "statuses": dict(kernel.statuses),
        "trials": [
            {"config": dict(trial.key.config), "status": str(trial.measurement.status),
             "evidence": str(trial.measurement.evidence), "time_s": trial.measurement.time_s,
             "samples_s": list(trial.measurement.samples), "at": trial.created_at.isoformat()}
            for trial in store.sweep_history(record.sweep_id)
        ],
    }  # fmt: skip
