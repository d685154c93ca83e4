"""`tuner compare` of an experiment with recordings: searchers against each other, nothing is measured."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.engine.tuning.experiment import Experiment


# Hundreds of runs take minutes: whoever waits is told that they go on.
_LINE_EVERY_S = 5.0


LEGEND = (
    "means over spaces and seeds; @n: share of the optimum's speed after n trials; score: 0 is random "
    "search, 1 the optimum at once; history: what transfer knew"
)


class RunsProgress:
    """Says on stderr how many runs of searchers are done, at most every five seconds.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._began = self._said = time.monotonic()

    def begin(self, searchers: int, spaces: int, seeds: int, trials: int) -> None:
        """What is about to be run."""
        if not self._quiet:
            each = f"{searchers} searchers x {spaces} recorded spaces x {seeds} seeds"
            total = searchers * spaces * seeds
            print(f"{each}: {total:,} runs of {trials} trials, replayed", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        """So many runs are done."""
        now = time.monotonic()
        if self._quiet or (done < total and now - self._said < _LINE_EVERY_S):
            return
        self._said = now
        print(f"{done:,} of {total:,} runs, {now - self._began:.0f} s", file=sys.stderr, flush=True)


def compare_searchers(
    experiment: "Experiment", file: Path, output: Path | None, rerun: bool, json: bool
) -> None:
    """Runs (or reuses) the searchers of an experiment and prints their table."""
    from tuner.cli.common import aligned, print_json, say
    from tuner.engine.recorded.searcher_experiment import SearcherExperiment, run_searchers

    if experiment.moved:
        print("--device, --target and --no-device change nothing: recordings are replayed", file=sys.stderr)
    asked = SearcherExperiment(
        experiment.title, tuple(file.parent / name for name in experiment.recordings),
        experiment.searchers, experiment.seeds, experiment.budget.trials or 100,
    )  # fmt: skip
    folder = output or Path(experiment.output)
    progress = RunsProgress(json)
    found = run_searchers(
        asked, folder, rerun, progress,
        begin=lambda: progress.begin(len(asked.searchers), len(asked.recordings), asked.seeds, asked.trials),
    )  # fmt: skip
    if json:
        print_json(found)
        return
    head, *rows = found["table"]
    title = f"{found['title']}: replayed from recordings, nothing was measured"
    for line in aligned(head, rows, "l" + "r" * (len(head) - 1), {0: title}):
        say(line)
    say(LEGEND)
    for note in found["notes"]:
        say(note)
    if found["reused"]:
        say(f"as kept in {folder}; --rerun runs it again")
    say(f"picture: {folder / 'searchers.png'}")
