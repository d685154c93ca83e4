"""The progress display of a sweep, on stderr: best so far, trials a minute, failures by status."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tuner.cli.common import rate, seconds
from tuner.core.disturbance import is_disturbed
from tuner.core.measurement import Evidence
from tuner.core.space import SearchSpace
from tuner.engine.tuning.observer import Observer, TrialEvent
from tuner.engine.tuning.request import SweepRequest
from tuner.report.text import safe

# Where stderr is not a terminal (CI, a log file) a line is printed every so often.
_LINE_EVERY_S = 15.0


class SweepProgress(Observer):
    """Shows a bar on a terminal, an occasional line elsewhere, nothing if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._task: Any = None
        self._reset()

    def _reset(self) -> None:
        self._failures: Counter[str] = Counter()
        self._flops, self._label = 0, ""
        self._total: int | None = None
        self._began = self._printed = time.monotonic()
        self._fresh = self._disturbed = 0

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._live = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[count]}"),
                TextColumn("{task.fields[state]}"), TimeElapsedColumn(), console=_stderr(), transient=True,
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(safe(text, lines=True), file=sys.stderr)

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        """A new bar."""
        from tuner import registry

        self._reset()
        self._flops = registry.operator(request.workload.operator).flops(request.workload)
        self._label = f"{request.kernel.name} (s{sweep_id})"
        bounds = [n for n in (request.budget.trials, space.size) if n is not None]
        self._total = min(bounds) if bounds else None
        size = f"{space.size:,}" if space.size is not None else "uncounted"
        if not request.kernel.baseline:
            kept = f", {resumed} stored trials kept" if resumed else ""
            ending = "" if space.size == 1 else "s"
            self.note(f"{self._label}: {size} valid configuration{ending}, searcher {request.searcher}{kept}")
        if self._live is not None:
            if self._task is not None:
                self._live.remove_task(self._task)
            self._task = self._live.add_task(
                self._label,
                total=self._total,
                completed=resumed,
                count=self._count(resumed),
                state="starting",
            )

    def _count(self, done: int) -> str:
        return f"{done}/{self._total}" if self._total else str(done)

    def trial_done(self, event: TrialEvent) -> None:
        """Moves the bar."""
        status = str(event.trial.measurement.status)
        self._disturbed += is_disturbed(event.trial.measurement.metrics)
        if status not in ("ok", "pruned"):
            self._failures[status] += 1
        self._fresh += not event.reused
        best = event.best.measurement.time_s if event.best else None
        minutes = max(time.monotonic() - self._began, 1e-3) / 60
        failures = " ".join(f"{s}:{n}" for s, n in self._failures.most_common()) or "0"
        word = "predicted " if event.best and event.best.measurement.evidence is Evidence.PREDICTED else ""
        state = f"best {word}{seconds(best)} ({rate(self._flops, best)} GFLOP/s) | "
        state += f"{self._fresh / minutes:.0f} trials/min | failed {failures}"
        state += f" | disturbed {self._disturbed}" if self._disturbed else ""
        if self._live is not None:
            self._live.update(
                self._task, completed=event.number + 1, count=self._count(event.number + 1), state=state
            )
        elif not self._quiet and time.monotonic() - self._printed > _LINE_EVERY_S:
            self._printed = time.monotonic()
            print(f"{self._label} {self._count(event.number + 1)} {state}", file=sys.stderr)

    def final_began(self, labels: Sequence[str]) -> None:
        """The bar of the final, before its first round: processes start first."""
        from tuner.engine.tuning.finals import SITTINGS

        self._began = self._printed = time.monotonic()
        if self._live is not None:
            if self._task is not None:
                self._live.remove_task(self._task)
            self._task = self._live.add_task(
                "final",
                total=None,
                completed=0,
                count="",
                state=f"{len(labels)} finalists in turn, each in {SITTINGS} processes",
            )
        elif not self._quiet:
            # A kernel may be there with several configurations: its default, its best of before.
            told = [f"{name} ({n} configurations)" if n > 1 else name for name, n in Counter(labels).items()]
            how = f"timed in turn, each in {SITTINGS} processes"
            print(f"final: {len(labels)} finalists, {how}: {', '.join(told)}", file=sys.stderr)

    def final_progress(self, done: int, total: int) -> None:
        """A round of the final is over."""
        if self._live is not None:
            self._live.update(self._task, completed=done, total=total, count=f"{done}/{total}")
        elif not self._quiet and (done == total or time.monotonic() - self._printed > _LINE_EVERY_S):
            self._printed = time.monotonic()
            print(f"final: round {done} of {total}", file=sys.stderr)


def _stderr() -> Any:
    from tuner.cli.common import console

    return console(stderr=True)
