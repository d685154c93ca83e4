"""An experiment that compares searchers on recorded spaces; what was run once of the same is kept in its
folder."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.digest import digest, digest_files
from tuner.core.output_file import put
from tuner.engine.recorded.bench_searchers import Known, bench_searchers, load_spaces, plot, table

_SEARCHERS = Path(__file__).resolve().parents[2] / "searchers"
_KEPT = "searchers.json"


@dataclass(frozen=True)
class SearcherExperiment:
    """Searchers times recordings times seeds.

    Attributes:
        title: for headings.
        recordings: files of recorded spaces.
        searchers: by name; `kernel_tuner:STRATEGY` where Kernel Tuner is installed.
        seeds, trials: runs of each pair, proposals of each run.
    """

    title: str
    recordings: tuple[Path, ...]
    searchers: tuple[str, ...]
    seeds: int
    trials: int

    @property
    def key(self) -> str:
        """Equal for what would come out alike: recordings, numbers, and the searchers' own sources."""
        sources = digest_files(sorted(_SEARCHERS.rglob("*.py")))
        spaces = [[path.name, digest_files([path])] for path in self.recordings]
        return digest([spaces, list(self.searchers), self.seeds, self.trials, sources, "other shapes"])


def run_searchers(
    experiment: SearcherExperiment, folder: Path, rerun: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None, processes: int | None = None,
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Any]:  # fmt: skip
    """Runs what is not kept in `folder`, and keeps it there with a picture.

    Searchers that transfer know the other recordings of the same kernel, those of the same device at another
    problem included.

    Args:
        experiment, folder: what, and where it is kept.
        rerun: also what is kept.
        report: called with (runs done, runs planned).
        processes: how many runs at once; default one for each CPU of this process.
        begin: called before the first run, where nothing is kept.

    Returns:
        `title`, `key`, `evidence` (`replayed`), `table` (rows of texts, the first the heading), `notes`,
        `reused`.

    Raises:
        TunerError: a file cannot be read or written, a searcher is unknown or cannot be used here.
    """
    kept = None if rerun else _kept(folder / _KEPT, experiment.key)
    if kept is not None:
        return {**kept, "reused": True}
    begin()
    spaces = load_spaces(experiment.recordings)
    bench = bench_searchers(
        spaces, experiment.searchers, experiment.seeds, experiment.trials, Known(spaces, other_shapes=True),
        processes or len(os.sched_getaffinity(0)), lambda done, total, run: report(done, total),
    )  # fmt: skip
    found = {
        "title": experiment.title, "key": experiment.key, "evidence": "replayed", "table": table(bench),
        "notes": bench.notes,
    }  # fmt: skip
    put(folder / _KEPT, json.dumps(found, indent=1) + "\n")
    bench.write_json(folder / "runs.json")
    plot(bench, folder / "searchers.png")
    return {**found, "reused": False}


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """What an earlier run of the same kept; `None` where there is none, or it is not of the lab."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and {"title", "table", "notes"} <= found.keys()
    return found if whole and found.get("key") == key else None
