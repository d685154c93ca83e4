"""`tuner show`: everything stored of one trial, sweep or campaign; nothing is built or run."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Json

if TYPE_CHECKING:
    from tuner.store.campaign_records import StoredCampaign
    from tuner.store.records import StoredSweep, TrialDetail
    from tuner.store.store import Store

_SHOW_EXAMPLES = """
Examples:

  tuner show t42      (trial 42)

  tuner show s3       (sweep 3)

  tuner show c2       (campaign 2; or --campaign 2)

  tuner show --campaigns
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("show", epilog=_SHOW_EXAMPLES)(show)


def show(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A trial (t42), a sweep (s3) or a campaign (c2); a bare number is a trial.",
            show_default=False,
        ),
    ] = None,
    campaign: Annotated[int | None, typer.Option(min=1, help="This campaign; the same as c2.")] = None,
    campaigns: Annotated[bool, typer.Option("--campaigns", help="List the campaigns.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Of a campaign: draw its pictures into this folder.")
    ] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Everything stored of one trial, one sweep or one campaign; or the list of campaigns."""
    from tuner.core.errors import TunerError
    from tuner.store.store import open_store

    if campaign is not None and what is None:
        what = f"c{campaign}"
    elif campaign is not None:
        raise TunerError(f"{what} or --campaign {campaign}: name one of them")
    if (what is None) != campaigns:
        raise TunerError("name a trial (t42), a sweep (s3) or a campaign (c2), or give --campaigns")
    match = re.fullmatch(r"([tsc]?)([0-9]{1,18})", (what or "0").strip().lower())
    if match is None:
        raise TunerError(f"{what!r} is neither a trial like t42, nor a sweep like s3, nor a campaign like c2")
    if output is not None and match[1] != "c":
        raise TunerError("--output is for the pictures of a campaign: tuner show c2 --output FOLDER")
    with open_store(db, read_only=True) as store:
        if campaigns:
            _list_campaigns(store.campaigns(), json)
        elif match[1] == "s":
            _show_sweep(store, store.sweep(int(match[2])), json)
        elif match[1] == "c":
            _show_campaign(store, store.campaign(int(match[2])), output, json)
        else:
            _show_trial(store.trial(int(match[2])), json)


def _list_campaigns(found: "list[StoredCampaign]", json: bool) -> None:
    from tuner.cli.common import age, aligned, print_json, say
    from tuner.report.records_json import campaign_json

    if json:
        print_json([campaign_json(campaign) for campaign in found])
        return
    if not found:
        say("no campaigns stored; 'tuner sweep' and 'tuner compare' make them (older versions did not)")
        return
    rows = []
    for each in found:
        done = sum(part.status == "finished" for part in each.parts)
        rows.append(
            (f"c{each.id}", each.state, f"{done}/{len(each.parts)}", age(each.started_at),
             each.spec.device.name, each.spec.experiment or "-", each.spec.title)
        )  # fmt: skip
    head = ("campaign", "state", "workloads", "began", "device", "experiment", "title")
    for line in aligned(head, rows, "llrrlll", {0: "Campaigns"}):
        print(line)


def _show_campaign(store: "Store", found: "StoredCampaign", output: Path | None, json: bool) -> None:
    """The tables of a campaign, as the command that ran it printed them."""
    from tuner.cli.sweep import report
    from tuner.report.present import present

    if found.spec.kind != "sweep" or output is not None:
        present(found, store, output, json)
    else:
        report(found.id, store, json)


def _show_trial(detail: "TrialDetail", json: bool) -> None:
    from tuner.cli.common import config_text, console, print_json, seconds, spread
    from tuner.core.disturbance import disturbance_words
    from tuner.report.records_json import trial_json
    from tuner.report.text import ratio

    trial, m = detail.trial, detail.trial.measurement
    fields: dict[str, Any] = trial_json(detail)
    if json:
        print_json(fields)
        return
    out = console()
    fields["config"] = config_text(trial.key.config)
    fields["flags"] = " ".join(fields["flags"])
    fields["metrics"] = " ".join(f"{k}={v:g}" for k, v in m.metrics.items())
    fields["time_s"] = seconds(m.time_s) if m.time_s else None
    if m.time_s and m.calibration:
        # Both numbers stand side by side: a reader would ask which of them is the time.
        fields["time_s"] += " (ranked by this: the raw median over the drift; it may lie outside the samples)"
        fields["drift"] = f"{m.calibration.drift:.3f} (calibration beside the samples, over its reference)"
    fields["build_s"], fields["run_s"] = f"{m.build_s:.3g} s", f"{m.run_s:.3g} s"
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
    from tuner.report.records_json import history_json, sweep_json
    from tuner.report.text import first_line

    fields: dict[str, Any] = sweep_json(sweep)
    if json:
        fields |= history_json(store.best_so_far(sweep.id), store.sweep_history(sweep.id))
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
