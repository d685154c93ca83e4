"""`tuner best` and `tuner show`: answers from the database; nothing is built or run."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_COUNT

if TYPE_CHECKING:
    from tuner.store.records import BestRow, StoredSweep, TrialDetail
    from tuner.store.store import Store

_BEST_EXAMPLES = """
Examples:

  tuner best

  tuner best gemm --shape 1024x1024x1024

  tuner best gemm --threads 1 --json
"""
_SHOW_EXAMPLES = """
Examples:

  tuner show t42      (trial 42)

  tuner show s3       (sweep 3)
"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("best", epilog=_BEST_EXAMPLES)(best)
    app.command("show", epilog=_SHOW_EXAMPLES)(show)


def best(
    operator: Annotated[str | None, typer.Argument(help="Operator; default all.")] = None,
    shape: Annotated[str | None, typer.Option(help="Only this shape.")] = None,
    dtype: Annotated[str, typer.Option(help="Element type of the shape.")] = "f32",
    kernel: Annotated[str | None, typer.Option(help="Only this kernel.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Only this number of CPU threads.")
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Only warm or cold caches.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Only this device: a part of its name or fingerprint.")
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="What a time must be worth: measured, replayed, predicted; comma-separated.")
    ] = "measured",
    db: Db = None,
    json: Json = False,
) -> None:
    """The best configuration of each kernel, for each workload and device, fastest first."""
    from tuner import registry
    from tuner.core.errors import TunerError, UnknownName
    from tuner.store.store import open_store

    key = None
    if operator is not None or shape is not None:
        if operator is None:
            raise TunerError("--shape needs the operator: tuner best gemm --shape 64x64x64")
        known = registry.operator(operator)
        key = known.parse(shape, dtype).key if shape else None
    with open_store(db, read_only=True) as store:
        if kernel is not None:
            names = {k.kernel.name for k in store.best(operator)} | registry.kernels().keys()
            if kernel not in names:
                raise UnknownName("kernel", kernel, sorted(names))
        asked = [e.strip() for e in evidence.split(",")]
        digests = {name: k.digest for name, k in registry.kernels().items()}
        rows = store.best(operator, key, None, kernel, threads, cache, asked, digests)
        left = [e for e in ("measured", "replayed", "predicted") if e not in asked]
        others = [] if rows else store.best(operator, key, None, kernel, threads, cache, left, digests)
    if device is not None:
        wanted = device.lower()
        rows = [r for r in rows if wanted in r.device.name.lower() or wanted in r.device.fingerprint]
    if json:
        from tuner.cli.common import print_json

        print_json([_best_json(row) for row in rows])
        return
    if not rows:
        _print_none(key or operator or "", asked, sorted({row.evidence for row in others}))
        return
    _print_best(rows)


def _best_json(row: "BestRow") -> dict[str, Any]:
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
        "interval_s": [row.interval.low, row.interval.mid, row.interval.high],
        "retimed": row.retimed,
        "evidence": row.evidence,
        "speedup": [row.speedup.low, row.speedup.mid, row.speedup.high] if row.speedup else None,
        "baseline": row.baseline,
        "winner": row.winner,
        "tie": row.tie,
        "trial": row.trial_id,
        "sweep": row.sweep_id,
        "measured_at": row.measured_at,
    }


def _print_none(what: str, asked: Sequence[str], others: Sequence[str]) -> None:
    from tuner.cli.common import say

    of = f" of {what}" if what else ""
    if others:
        say(f"nothing {' or '.join(asked)}{of}; --evidence {','.join(others)} shows what there is")
    else:
        say(f"nothing stored{of}; 'tuner sweep' measures")


def _print_best(rows: "list[BestRow]") -> None:
    from itertools import groupby

    from tuner import registry
    from tuner.cli.common import age, aligned, config_text, rate, seconds, spread, work
    from tuner.report.text import ratio

    digests = {name: kernel.digest for name, kernel in registry.kernels().items()}
    lines: list[tuple[str, ...]] = []
    titles: dict[int, str] = {}
    stale = False
    for (key, device, threads, cache), group in groupby(
        rows, lambda r: (r.workload.key, r.device.name, r.threads, r.cache)
    ):
        titles[len(lines)] = f"{key} on {device}, {threads} threads, {cache} cache"
        for row in group:
            changed = digests.get(row.kernel.name, row.kernel.digest) != row.kernel.digest
            stale |= changed
            name = row.kernel.name + ("*" if changed else "")
            if row.evidence != "measured":
                name += f" ({row.evidence})"
            time_s = row.interval.mid if row.retimed else row.time_s
            against = f"{ratio(row.speedup)} vs {row.baseline}" if row.speedup and row.baseline else "-"
            lines.append((
                name, seconds(time_s), spread(row.interval), rate(work(row.workload), time_s), against,
                f"t{row.trial_id}", f"s{row.sweep_id}", age(row.measured_at),
                config_text(row.config),
            ))  # fmt: skip
    # A table of a library takes longer to draw 600 rows than the database to find them.
    head = ("kernel", "time", "95%", "GFLOP/s", "speed-up [95%]", "trial", "sweep", "when", "configuration")
    for line in aligned(head, lines, "lrrrlrrrl", titles):
        print(line)
    if stale:
        print("* the kernel's source has changed since it was measured")


def show(
    what: Annotated[str, typer.Argument(help="A trial (t42) or a sweep (s3); a bare number is a trial.")],
    db: Db = None,
    json: Json = False,
) -> None:
    """Everything stored of one trial or one sweep."""
    from tuner.core.errors import TunerError
    from tuner.store.store import open_store

    match = re.fullmatch(r"([ts]?)([0-9]{1,18})", what.strip().lower())
    if match is None:
        raise TunerError(f"{what!r} is neither a trial like t42 nor a sweep like s3")
    with open_store(db, read_only=True) as store:
        if match[1] == "s":
            _show_sweep(store, store.sweep(int(match[2])), json)
        else:
            _show_trial(store.trial(int(match[2])), json)


def _show_trial(detail: "TrialDetail", json: bool) -> None:
    from tuner.cli.common import config_text, console, print_json, seconds, spread
    from tuner.core.disturbance import disturbance_words
    from tuner.report.text import ratio

    trial, m = detail.trial, detail.trial.measurement
    fields: dict[str, Any] = {
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
        "status": str(m.status),
        "evidence": str(m.evidence),
        "error": m.error or None,
        "time_s": m.time_s,
        "interval_s": [m.interval.low, m.interval.mid, m.interval.high] if m.interval else None,
        "samples_s": list(m.samples),
        "drift": m.calibration.drift if m.calibration else None,
        "max_error": m.max_error,
        "build_s": m.build_s,
        "run_s": m.run_s,
        "metrics": dict(m.metrics),
        "artifact": m.artifact or None,
        "created_at": trial.created_at,
    }
    if json:
        print_json(fields)
        return
    out = console()
    fields["config"] = config_text(trial.key.config)
    fields["flags"] = " ".join(fields["flags"])
    fields["metrics"] = " ".join(f"{k}={v:g}" for k, v in m.metrics.items())
    fields["time_s"] = f"{seconds(m.time_s)} (drift divided out)" if m.time_s else None
    fields["interval_s"] = f"{seconds(m.interval.mid)} {spread(m.interval)} (raw)" if m.interval else None
    fields["samples_s"] = f"{len(m.samples)}: " + " ".join(f"{s:.4g}" for s in m.samples[:12])
    fields["samples_s"] += " ..." if len(m.samples) > 12 else ""
    fields["max_error"] = None if m.max_error is None else f"{m.max_error:.2g} of the tolerance"
    fields["disturbance"] = disturbance_words(m.metrics)
    for name, value in fields.items():
        if value not in (None, "", "0: "):
            out.print(f"{name:>14}  {value}", markup=False, soft_wrap=True)
    for entry in detail.finals:
        place: str = "winner" if entry.winner else "tie" if entry.tie else entry.role
        place += f" of a final that declared nothing ({entry.disturbed})" if entry.disturbed else ""
        out.print(f"{'final':>14}  {place}: {seconds(entry.interval.mid if entry.interval else None)} "
                  f"{spread(entry.interval)}, speed-up {ratio(entry.speedup)}")  # fmt: skip


def _show_sweep(store: "Store", sweep: "StoredSweep", json: bool) -> None:
    from tuner.cli.common import config_text, console, print_json, seconds
    from tuner.report.text import first_line

    fields: dict[str, Any] = {
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
    if json:
        curve = store.best_so_far(sweep.id)
        fields["curve"] = [{"number": p.number, "elapsed_s": p.elapsed_s, "best_s": p.best_s} for p in curve]
        fields["history"] = [
            {"trial": t.id, "status": str(t.measurement.status), "time_s": t.measurement.time_s,
             "config": dict(t.key.config), "error": t.measurement.error or None}
            for t in store.sweep_history(sweep.id)
        ]  # fmt: skip
        print_json(fields)
        return
    out = console()
    for name, value in fields.items():
        if value not in (None, "", {}):
            out.print(f"{name:>12}  {value}", markup=False, soft_wrap=True)
    # Of a sweep of a million trials the last thousand failures say what goes wrong.
    failures = store.failures(sweep.id, 1000)
    errors = Counter(f"{status}: {first_line(error)[:120]}" for status, error in failures)
    for line, count in errors.most_common(10):
        out.print(f"{'failed':>12}  {count}x {line}", markup=False, soft_wrap=True)
    for t in store.fastest(sweep.id, 10):
        out.print(
            f"{'t' + str(t.id):>12}  {seconds(t.measurement.time_s)}  {config_text(t.key.config)}",
            markup=False,
        )
