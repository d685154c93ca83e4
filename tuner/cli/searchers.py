"""`tuner compare` of an experiment with recordings: searchers against each other, nothing is measured."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.engine.tuning.experiment import Experiment


def compare_searchers(
    experiment: "Experiment", file: Path, output: Path | None, rerun: bool, json: bool
) -> None:
    """Runs (or reuses) the searchers of an experiment and prints their table."""
    import sys

    from tuner.cli.common import aligned, print_json, say
    from tuner.engine.recorded.searcher_experiment import SearcherExperiment, run_searchers

    def progress(done: int, total: int) -> None:
        if not json and (done == total or done % 10 == 0):
            print(f"{done} of {total} runs", file=sys.stderr)

    asked = SearcherExperiment(
        experiment.title, tuple(file.parent / name for name in experiment.recordings),
        experiment.searchers, experiment.seeds, experiment.budget.trials or 100,
    )  # fmt: skip
    folder = output or Path(experiment.output)
    found = run_searchers(asked, folder, rerun, progress)
    if json:
        print_json(found)
        return
    head, *rows = found["table"]
    title = f"{found['title']}: replayed from recordings, nothing was measured"
    for line in aligned(head, rows, "l" + "r" * (len(head) - 1), {0: title}):
        say(line)
    for note in found["notes"]:
        say(note)
    if found["reused"]:
        say(f"as kept in {folder}; --rerun runs it again")
    say(f"picture: {folder / 'searchers.png'}")
