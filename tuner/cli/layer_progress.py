"""The progress of a model's layers, on stderr: a line for each, and the bar of what is going on."""

import time
from collections.abc import Mapping, Sequence

from tuner.cli.common import seconds
from tuner.cli.progress import SweepProgress
from tuner.core.space import SearchSpace
from tuner.core.workload import Workload
from tuner.engine.tuning.observer import LayerEvent, TrialEvent
from tuner.engine.tuning.request import SweepRequest

_HEAD = f"{'layer':>7}  {'ONNX Runtime':>12}  {'tuned':>9}  {'trials':>6}  {'time':>6}  kernel and workload"


class LayerProgress(SweepProgress):
    """A table that grows by a line a layer; what sweeps say meanwhile is in the store.

    Args:
        quiet: shows nothing.
        verbose: everything as `SweepProgress` shows it.

    Attributes:
        runtime_s: seconds of one call of a layer in ONNX Runtime's profile.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(quiet)
        self._verbose = verbose
        self._place = ""
        self._layer_began = 0.0
        self.runtime_s: Mapping[Workload, float] = {}

    def note(self, text: str) -> None:
        """Prints a line, but within a layer only where all was asked for."""
        if self._verbose or not self._place:
            super().note(text)

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        """A new bar, named after the layer."""
        super().sweep_began(request, sweep_id, resumed, space)
        if not self._verbose:
            self._label = f"{self._place.strip()} {self._label}"

    def trial_done(self, event: TrialEvent) -> None:
        """Moves the bar, where there is one."""
        if self._verbose or self._live is not None:
            super().trial_done(event)

    def final_began(self, labels: Sequence[str]) -> None:
        """A new bar, where there is one."""
        if self._verbose or self._live is not None:
            super().final_began(labels)

    def final_progress(self, done: int, total: int) -> None:
        """Moves the bar, where there is one."""
        if self._verbose or self._live is not None:
            super().final_progress(done, total)

    def layer_began(self, number: int, total: int, workload: Workload) -> None:
        """The next line."""
        if self._verbose:
            super().layer_began(number, total, workload)
            return
        if number == 1:
            super().note(_HEAD)
        self._place, self._layer_began = f"{number}/{total}", time.monotonic()

    def layer_ended(self, event: LayerEvent) -> None:
        """Its line: who won, and how long it took."""
        if self._verbose:
            return
        runtime_s = self.runtime_s.get(event.workload)
        spent_s = time.monotonic() - self._layer_began
        line = f"{self._place:>7}  {seconds(runtime_s):>12}  {seconds(event.time_s):>9}  {event.trials:>6}  "
        line += f"{spent_s:>4.0f} s  {event.kernel or event.why[:78] or 'no final'} at {event.workload.key}"
        self._place = ""
        super().note(line)
