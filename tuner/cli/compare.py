"""`tuner compare`: an experiment file, its sweeps, the table and the pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Default, Json, NoDevice
from tuner.report.text import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.engine.tuning.campaign_outcome import CampaignOutcome
    from tuner.engine.tuning.experiment import Experiment
    from tuner.store.campaign_records import StoredCampaign
    from tuner.store.store import Store

_EXAMPLES = """
Examples:

  tuner compare experiments/gemm_demo.toml

  tuner compare experiments/gemm_demo.toml --output results/today --trials 300

  tuner compare experiments/gemm_demo.toml --report-only

  tuner compare gpus.toml --device cuda:0

  tuner compare gpus.toml --target cuda:sm_90 --no-device
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare", epilog=_EXAMPLES)(compare)


def compare(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="An experiment: a TOML file.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for pictures; default: as the file says.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials a kernel, in place of the file's.")] = None,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only",
            help="Run nothing: print and draw the latest finished campaign of this experiment again.",
        ),
    ] = False,
    campaign: Annotated[
        int | None,
        typer.Option(min=1, help="With --report-only: this campaign; 'tuner show --campaigns' lists them."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="What to measure on, in place of the file's: cpu, cuda or cuda:1.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What to compile for, in place of the file's, e.g. cuda:sm_90.")
    ] = None,
    default: Default = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Measure everything again, also what the database holds.")
    ] = False,
    no_device: NoDevice = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Run (or reuse) the sweeps of an experiment, time the winners interleaved, print and draw the result."""
    from tuner.cli.check import parse_defaults
    from tuner.cli.common import command_line
    from tuner.cli.progress import SweepProgress
    from tuner.cli.searchers import compare_searchers
    from tuner.cli.sweep import end, number_of
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.experiment import read_experiment, run_experiment
    from tuner.engine.tuning.variants import variants
    from tuner.store.store import open_store

    if campaign is not None and not report_only:
        raise TunerError(f"--campaign {campaign} needs --report-only: without it a comparison is run anew")
    place = {**_place(device, target, no_device), "defaults": parse_defaults(default or ()), "rerun": rerun}
    experiment = read_experiment(file, trials, place)
    if experiment.recordings:
        compare_searchers(experiment, file, output, rerun, json)
        return
    runs, left_out = variants(experiment, file.stem)
    for line in left_out:
        print(safe(line), file=sys.stderr)
    with open_store(db, read_only=report_only) as store:
        if report_only:
            names = runs if campaign is None else runs[:1]
            found = [_stored(store, file, name, each, campaign) for name, each in names]
            _show(found, store, output, experiment, json)
            return
        outcomes: list[CampaignOutcome] = []
        campaigns: list[int] = []
        with SweepProgress(quiet=json) as progress:
            # What an interrupted run measured again is not measured a third time.
            command = command_line(context, without=("json", "rerun"))
            for name, each in runs:
                results = run_experiment(each, store, progress, name, command)
                outcomes += results.values()
                campaigns.append(number_of(results))
                if any(outcome.interrupted for outcome in results.values()):
                    break
        _show([store.campaign(number) for number in campaigns], store, output, experiment, json)
    end(outcomes)


def _place(device: str | None, target: str | None, no_device: bool) -> dict[str, Any]:
    """What takes the place of all that the file says of where it runs; nothing where no option is given."""
    if device is None and target is None and not no_device:
        return {}
    return {"device": device, "target": target, "no_device": no_device, "moved": True}


def _show(
    campaigns: "Sequence[StoredCampaign]", store: "Store", output: Path | None, experiment: "Experiment",
    json: bool,
) -> None:  # fmt: skip
    """Prints campaigns and writes their pictures; those of unfinished ones only where a folder is named."""
    from tuner.report.present import present_all

    folder = output or Path(experiment.output)
    if all(campaign.state == "finished" for campaign in campaigns) or output is not None:
        present_all(campaigns, store, folder, json)
        return
    present_all(campaigns, store, None, json)
    print(f"{folder} is left as it was: the comparison did not finish; --output draws it", file=sys.stderr)


def _stored(
    store: "Store", file: Path, name: str, experiment: "Experiment", number: int | None
) -> "StoredCampaign":
    """The campaign to report: of a number, or the latest finished one of this name, else the latest.

    Raises:
        TunerError: there is none, or the one of this number is of another experiment.
    """
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.experiment import asked

    if number is not None:
        found = store.campaign(number)
        if found.spec.experiment.partition("@")[0] != file.stem:
            of = found.spec.experiment or found.spec.title
            raise TunerError(
                f"campaign {number} is of {of}, not of {file}: show it with tuner show c{number}"
            )
    else:
        campaigns = store.campaigns(name)
        if not campaigns:
            raise TunerError(
                f"{store.name} has no campaign of {name}: run 'tuner compare {file}' first, or name "
                "another database with --db"
            )
        finished = [c for c in campaigns if c.state == "finished"]
        found = (finished or campaigns)[-1]
        if found.id != campaigns[-1].id:
            print(f"campaign {campaigns[-1].id} is newer and did not finish", file=sys.stderr)
    now = asked(experiment)
    changed = sorted(key for key, value in now.items() if found.spec.asked.get(key, value) != value)
    if {layer.workload.key for layer in experiment.layers()} != {w.key for w in found.spec.workloads}:
        changed.append("shapes")
    if changed:
        told = f"{file} has changed since campaign {found.id} ({', '.join(changed)})"
        print(safe(f"{told}: what was measured then is shown"), file=sys.stderr)
    return found
