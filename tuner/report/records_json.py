"""Every record as plain values: the one place that decides what `--json` and the JSON files say.

Times are seconds. A 95% interval is `[low, middle, high]` wherever there is one, of times and of speed-ups;
the middle is the median (of a mean over layers, the mean). Null stands where there is none.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.report.campaign_view import EntryView, KernelView, PartView
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.verdict import default_sentences, verdict
from tuner.store.campaign_records import StoredCampaign
from tuner.store.records import BestRow, CurvePoint, DeviceInfo, StoredFailure, StoredSweep, TrialDetail

if TYPE_CHECKING:
    from tuner.report.network import LayerRow, Summary


def document(value: Any) -> str:
    """The text of one JSON document."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def interval_list(interval: Interval | None) -> list[float] | None:
    """An interval as `[low, middle, high]`."""
    return [interval.low, interval.mid, interval.high] if interval is not None else None


# Single records


def trial_json(detail: TrialDetail) -> dict[str, Any]:
    """A trial with its surroundings."""
    trial, m = detail.trial, detail.trial.measurement
    return {
        "trial": trial.id,
        "sweep": detail.sweep,
        "workload": trial.key.workload.key,
        "kernel": detail.kernel.name,
        "kernel_digest": detail.kernel.digest,
        "config": dict(trial.key.config),
        "host": trial.host or None,
        "device": detail.device.name,
        "fingerprint": detail.device.fingerprint,
        "target": trial.key.target,
        "toolchain": " ".join([detail.toolchain[0], detail.toolchain[1]]),
        "flags": list(detail.toolchain[2]),
        "threads": detail.threads,
        "cache": detail.cache,
        "timer": detail.timer or None,
        "status": str(m.status),
        "evidence": str(m.evidence),
        "error": m.error or None,
        "time_s": m.time_s,
        "interval_s": interval_list(m.interval),
        "samples_s": list(m.samples),
        "drift": m.calibration.drift if m.calibration else None,
        "max_error": m.max_error,
        "build_s": m.build_s,
        "run_s": m.run_s,
        "metrics": dict(m.metrics),
        "artifact": m.artifact or None,
        "created_at": trial.created_at,
    }


def sweep_json(sweep: StoredSweep) -> dict[str, Any]:
    """A sweep with its counts."""
    return {
        "sweep": sweep.id,
        "status": sweep.status,
        "workload": sweep.spec.workload.key,
        "kernel": sweep.spec.kernel.name,
        "device": sweep.spec.device.name,
        "target": sweep.spec.target,
        "searcher": sweep.spec.searcher,
        "seed": sweep.spec.seed,
        "budget": dict(sweep.spec.budget),
        "protocol": sweep.spec.protocol.as_dict(),
        "started_at": sweep.started_at,
        "finished_at": sweep.finished_at,
        "trials": sweep.trials,
        "reused": sweep.reused,
        "statuses": dict(sweep.statuses),
        "best_s": sweep.best_s,
        "summary": dict(sweep.summary),
    }


def history_json(curve: Sequence[CurvePoint], history: Sequence[Trial]) -> dict[str, Any]:
    """A sweep's best-so-far curve and all its trials in order."""
    return {
        "curve": [{"number": p.number, "elapsed_s": p.elapsed_s, "best_s": p.best_s} for p in curve],
        "history": [_history_json(trial) for trial in history],
    }


def _history_json(trial: Trial) -> dict[str, Any]:
    measurement = trial.measurement
    return {
        "trial": trial.id,
        "status": str(measurement.status),
        "time_s": measurement.time_s,
        "config": dict(trial.key.config),
        "error": measurement.error or None,
    }


def best_json(row: BestRow) -> dict[str, Any]:
    """The best configuration of a kernel for a workload."""
    return {
        "workload": row.workload.key,
        "device": row.device.name,
        "fingerprint": row.device.fingerprint,
        "threads": row.threads,
        "cache": row.cache,
        "kernel": row.kernel.name,
        "kernel_digest": row.kernel.digest,
        "config": dict(row.config),
        "time_s": row.time_s,
        "interval_s": interval_list(row.interval),
        "retimed": row.retimed,
        "evidence": row.evidence,
        "timer": row.timer or None,
        "speedup": interval_list(row.speedup),
        "baseline": row.baseline,
        "winner": row.winner,
        "tie": row.tie,
        "trial": row.trial_id,
        "sweep": row.sweep_id,
        "measured_at": row.measured_at,
    }


def device_json(info: DeviceInfo, here: bool) -> dict[str, Any]:
    """A device; `here` where it is one of this machine."""
    return {
        "device": info.kind,
        "name": info.name,
        "fingerprint": info.fingerprint,
        "here": here,
        "target": info.target,
        "facts": dict(info.facts),
        "measured": dict(info.limits),
    }


def failure_json(failure: StoredFailure, reason: str) -> dict[str, Any]:
    """A failure that looks as if the machine had caused it, and how."""
    return {
        "trial": failure.trial_id,
        "sweep": failure.sweep_id,
        "workload": failure.workload.key,
        "kernel": failure.kernel,
        "status": str(failure.status),
        "reason": reason,
    }


# Campaigns


def campaign_json(campaign: StoredCampaign) -> dict[str, Any]:
    """What a campaign was asked, on what, and how far it came; without what its workloads found."""
    spec = campaign.spec
    return {
        "campaign": campaign.id,
        "state": campaign.state,
        "kind": spec.kind,
        "title": spec.title,
        "experiment": spec.experiment or None,
        "command": spec.command or None,
        "asked": dict(spec.asked),
        "device": spec.device.name,
        "fingerprint": spec.device.fingerprint,
        "target": spec.target,
        "protocol": spec.protocol.as_dict(),
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
        "facts": dict(spec.facts),
        "workloads": [
            {"workload": part.workload.key, "status": part.status, "final": part.final_id,
             "started_at": part.started_at, "finished_at": part.finished_at}
            for part in campaign.parts
        ],
    }  # fmt: skip


def part_json(part: PartView) -> dict[str, Any]:
    """What a campaign found for one workload: sweeps, who was left out and why, the final."""
    spec, record = part.campaign.spec, part.part
    return {
        "campaign": part.campaign.id,
        "workload": part.workload.key,
        "device": spec.device.name,
        "fingerprint": spec.device.fingerprint,
        "threads": spec.protocol.threads,
        "cache": spec.protocol.cache,
        "sweeps": {kernel.name: _kernel_json(kernel) for kernel in part.kernels},
        "skipped": {kernel.name: kernel.skipped for kernel in record.kernels if kernel.skipped},
        "given_up": {
            kernel.name: {"trials": kernel.given_up_at, "reason": kernel.given_up}
            for kernel in record.kernels if kernel.given_up
        },
        "final": _final_json(part),
        "excluded": [
            {"kernel": e.kernel, "trial": e.trial_id, "stage": e.stage, "reason": e.reason}
            for e in record.exclusions
        ],
        "limits": dict(record.limits),
        "limits_disturbed": record.peaks_disturbed,
        "interrupted": part.unfinished,
    }  # fmt: skip


def _kernel_json(kernel: KernelView) -> dict[str, Any]:
    record, best = kernel.record, kernel.best
    # Where a user named configurations, what became of each is asked; a search's trials are in its sweep.
    named = {"named": [_history_json(trial) for trial in kernel.named]} if kernel.named else {}
    return {
        **named,
        "sweep": record.sweep_id,
        "reused": record.reused,
        "trials": kernel.trials,
        "statuses": dict(kernel.statuses),
        "disturbed": record.disturbed,
        "seconds": record.summary.get("seconds"),
        "exhausted": bool(record.summary.get("exhausted", False)),
        "interrupted": bool(record.summary.get("interrupted", "statuses" not in record.summary)),
        "best": None
        if best is None
        else {
            "trial": best.id,
            "config": dict(best.key.config),
            "time_s": best.measurement.time_s,
            "evidence": str(best.measurement.evidence),
        },
    }


def _final_json(part: PartView) -> dict[str, Any] | None:
    if part.final is None:
        return None
    return {
        "id": part.final.id,
        "disturbed": part.disturbed or None,
        "remarks": list(part.part.remarks),
        "verdict": " ".join([verdict(part), *default_sentences(part)]),
        "entries": [_entry_json(entry) for entry in part.entries],
    }


def _entry_json(entry: EntryView) -> dict[str, Any]:
    interval = entry.interval
    return {
        "kernel": entry.kernel,
        "config": dict(entry.config),
        "trial": entry.trial_id,
        "baseline": entry.baseline,
        "median_s": interval.mid if interval else None,
        "interval_s": interval_list(interval),
        "speedup": interval_list(entry.speedup),
        "error": entry.error or None,
        "remark": entry.remark or None,
        "winner": entry.winner,
        "tie": entry.tie,
        "default": entry.default,
        "beaten": entry.beaten,
    }


# Comparisons


def row_json(row: ComparisonRow) -> dict[str, Any]:
    """One implementation of a comparison."""
    return {
        "implementation": row.implementation,
        "kernel": row.kernel,
        "language": row.language,
        "config": dict(row.config),
        "time_s": interval_list(row.interval),
        "gflops": row.gflops,
        "share_of_peak": row.share_of_peak,
        "speedup_naive": interval_list(row.speedup_naive),
        "speedup_library": interval_list(row.speedup_library),
        "is_baseline": row.is_baseline,
        "is_naive": row.is_naive,
        "is_winner": row.is_winner,
        "is_tie": row.is_tie,
        "evidence": row.evidence,
        "trials": row.trials,
        "trial": row.trial_id,
        "remark": row.remark or None,
    }


def comparison_json(rows: Sequence[ComparisonRow], context: RowContext) -> dict[str, Any]:
    """The comparison of one workload, the fastest first."""
    return {
        "title": context.title,
        "campaign": context.campaign,
        "workload": context.workload.key,
        "device": context.device,
        "threads": context.threads,
        "cache": context.cache,
        "measured_at": context.when.isoformat(),
        "flops": context.flops,
        "min_bytes": context.bytes,
        "peak_flops": context.peak_flops,
        "bandwidth_bytes_per_s": context.bandwidth,
        "peaks_disturbed": context.peaks_disturbed,
        "disturbed": context.disturbed or None,
        "unfinished": context.unfinished,
        "rows": [row_json(row) for row in sorted(rows, key=lambda r: r.interval.mid)],
    }


def network_json(title: str, rows: "Sequence[LayerRow]", summaries: "Sequence[Summary]") -> dict[str, Any]:
    """The layers of models and their summaries."""
    return {
        "title": title,
        "campaign": rows[0].context.campaign if rows else None,
        "device": rows[0].context.device if rows else None,
        "threads": rows[0].context.threads if rows else None,
        "summaries": [_summary_json(summary) for summary in summaries],
        "layers": [_layer_json(row) for row in rows],
    }


def _summary_json(summary: "Summary") -> Mapping[str, Any]:
    return {
        "model": summary.model,
        "operator": summary.operator,
        "layers": summary.layers,
        "compared": summary.compared,
        "speedup": interval_list(summary.mean),
        "tuned_s": summary.tuned_s,
        "library_s": summary.library_s,
    }


def _layer_json(row: "LayerRow") -> Mapping[str, Any]:
    return {
        "model": row.model,
        "count": row.count,
        "workload": row.context.workload.key,
        "measured_at": row.context.when.isoformat(),
        "speedup": interval_list(row.speedup),
        "rows": [row_json(each) for each in row.rows],
        "notes": list(row.notes),
        "disturbed": row.context.disturbed or None,
    }
