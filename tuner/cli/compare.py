"""`tuner compare`: an experiment file, its sweeps, the table and the pictures."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.common import Db, Json

_EXAMPLES = """
Examples:

  tuner compare experiments/gemm_demo.toml

  tuner compare experiments/gemm_demo.toml --output results/today --trials 300
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare", epilog=_EXAMPLES)(compare)


def compare(
    file: Annotated[Path, typer.Argument(help="An experiment: a TOML file.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for pictures; default: as the file says.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials a kernel, in place of the file's.")] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Run (or reuse) the sweeps of an experiment, time the winners interleaved, print and draw the result."""
    from tuner.cli.progress import SweepProgress
    from tuner.cli.sweep import end
    from tuner.engine.tuning.experiment import read_experiment, run_experiment
    from tuner.report.present import present, present_network
    from tuner.store.store import open_store

    experiment = read_experiment(file, trials)
    with open_store(db) as store, SweepProgress(quiet=json) as progress:
        results = run_experiment(experiment, store, progress)
        if experiment.workloads:
            command = f"tuner compare {file}"
            folder = output or Path(experiment.output)
            present_network(experiment.title, command, experiment.layers(), results, store, folder, json)
        else:
            present(experiment, list(results.values()), store, output, json)
    end(list(results.values()))
