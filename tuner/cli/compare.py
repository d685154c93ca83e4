"""`tuner compare`: an experiment file, its sweeps, the table and the pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Json
from tuner.report.text import safe

if TYPE_CHECKING:
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
    no_device: Annotated[
        bool, typer.Option("--no-device", help="Compile, emulate and predict for --target; measure nothing.")
    ] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Run (or reuse) the sweeps of an experiment, time the winners interleaved, print and draw the result."""
    from tuner.cli.common import command_line
    from tuner.cli.progress import SweepProgress
    from tuner.cli.sweep import end, number_of
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.experiment import read_experiment, run_experiment
    from tuner.store.store import open_store

    if campaign is not None and not report_only:
        raise TunerError(f"--campaign {campaign} needs --report-only: without it a comparison is run anew")
    experiment = read_experiment(file, trials, _place(device, target, no_device))
    with open_store(db, read_only=report_only) as store:
        if report_only:
            _show(_stored(store, file, experiment, campaign), store, output, experiment, json)
            return
        with SweepProgress(quiet=json) as progress:
            command = command_line(context, without=("json",))
            results = run_experiment(experiment, store, progress, file.stem, command)
        _show(store.campaign(number_of(results)), store, output, experiment, json)
    end(list(results.values()))


def _place(device: str | None, target: str | None, no_device: bool) -> dict[str, Any] | None:
    """What takes the place of all that the file says of where it runs; `None` where no option is given."""
    if device is None and target is None and not no_device:
        return None
    return {"device": device, "target": target, "no_device": no_device}


def _show(
    campaign: "StoredCampaign", store: "Store", output: Path | None, experiment: "Experiment", json: bool
) -> None:
    """Prints a campaign and writes its pictures; those of an unfinished one only where a folder is named."""
    from tuner.report.present import present

    folder = output or Path(experiment.output)
    if campaign.state == "finished" or output is not None:
        present(campaign, store, folder, json)
        return
    present(campaign, store, None, json)
    print(f"{folder} is left as it was: the comparison did not finish; --output draws it", file=sys.stderr)


def _stored(store: "Store", file: Path, experiment: "Experiment", number: int | None) -> "StoredCampaign":
    """The campaign to report: of a number, or the latest finished one of the experiment, else the latest.

    Raises:
        TunerError: there is none, or the one of this number is of another experiment.
    """
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.experiment import asked

    if number is not None:
        found = store.campaign(number)
        if found.spec.experiment != file.stem:
            of = found.spec.experiment or found.spec.title
            raise TunerError(
                f"campaign {number} is of {of}, not of {file}: show it with tuner show c{number}"
            )
    else:
        campaigns = store.campaigns(file.stem)
        if not campaigns:
            raise TunerError(
                f"{store.name} has no campaign of {file.stem}: run 'tuner compare {file}' first, or name "
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
