"""Where a sweep on a GPU starts that nothing is known for: at what the model ranks best of a random draw.

Candidates are built, not run, and ranked by what the target's model reads from their machine code; the
best are measured first. Nothing of the ranking is stored. How good it is: docs/gpu-measured.md, "Predicted
and measured".
"""

import random
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.measurement import Evidence
from tuner.core.searcher import Searcher
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.engine.building.build_stage import BuildRequest, Built
from tuner.engine.candidate.evaluator import Evaluator
from tuner.engine.tuning.known_starts import known_starts
from tuner.engine.tuning.pooled_starts import pooled_starts
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.starting import Starts, best_predicted, both, most_starts, predicted_starts

if TYPE_CHECKING:
    from tuner.store.records import HistoryGroup
    from tuner.store.store import Store

DRAWN = 3
"""Configurations that are built for each that is measured first."""
_RUN = (Evidence.MEASURED, Evidence.REPLAYED)

_BuildOf = Callable[[Config], BuildRequest]


@typing.runtime_checkable
class _Builds(typing.Protocol):
    """An evaluator that gives out what it builds; one with other hosts does not."""

    target: Target

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        """Builds candidates; in the order given."""

    def keep(self, request: BuildRequest, built: Built) -> None:
        """Keeps a build for whoever asks for it next."""


def starts_of(
    request: SweepRequest, workshop: Evaluator, space: SearchSpace, store: "Store", searcher: Searcher,
    sweep_id: int, proposed: int, build_of: _BuildOf,
) -> Starts:  # fmt: skip
    """What a sweep measures before its searcher is asked: what somebody named; else what is best by an
    earlier sweep's model, good at other shapes (of the store, and as the lab ships them), or best by this
    sweep's model.

    Equal seeds, spaces, budgets and histories give equal starts, so that a resumed sweep goes on with those
    it has left.

    Args:
        request, workshop, space, store, searcher: of the sweep.
        sweep_id: of the sweep in the store: its own trials are no history.
        proposed: how many configurations it has proposed before it was resumed.
        build_of: how the sweep will ask for the build of a configuration.
    """
    if request.starts:
        count = len(request.starts)
        named = f"the {count} configurations that were" if count > 1 else "the configuration that was"
        return Starts(request.starts, why=f"starts from {named} named")
    kernel, workload, target = request.kernel, request.workload, workshop.target
    measured = workshop.device.evidence is Evidence.MEASURED
    if not measured or kernel.baseline or "configs" in request.options:
        return Starts()
    trials = request.budget.trials
    groups = store.history_groups(kernel.name, kernel.operator)
    found = predicted_starts(kernel, workload, target, space, store, groups, trials)
    begins = request.foresee and not kernel.searcher and not searcher.own_order
    if found.configs or not begins or proposed >= most_starts(trials):
        return found
    if _has_history(request, workshop, groups, sweep_id):
        return found
    pooled = pooled_starts(kernel, workload.dtype, searcher.problem, int(target.limits.get("cores", 1)))
    known = both(pooled, known_starts(kernel, workload, space, trials), most_starts(trials))
    if known.configs or not searcher.foresight or target.model is None or not isinstance(workshop, _Builds):
        return known
    return foreseen_starts(request, workshop, space, build_of)


def _has_history(
    request: SweepRequest, workshop: Evaluator, groups: Sequence["HistoryGroup"], sweep_id: int
) -> bool:
    """Whether this very kernel source has been run for the workload on the device, by another sweep."""
    kernel = request.kernel
    own = (request.workload, workshop.device.fingerprint, kernel.digest)
    return any(
        counts.get(evidence, 0) > 0
        for group in groups
        if (group.workload, group.device.fingerprint, group.kernel.digest) == own
        for sweep, counts in group.sweeps.items()
        if sweep != sweep_id
        for evidence in _RUN
    )


def foreseen_starts(
    request: SweepRequest, workshop: _Builds, space: SearchSpace, build_of: _BuildOf
) -> Starts:
    """The best predicted of a random draw, a third of it at most; equal binaries count once.

    Args:
        request: kernel, workload, seed and budget.
        workshop: builds candidates, several at a time; its target's model predicts. What is chosen it keeps,
            as it is measured next.
        space: to draw from.
        build_of: how the sweep will ask for the build of a configuration.

    Raises:
        MachineFault: the machine failed in a way that would fail every build.
    """
    kernel, workload, target = request.kernel, request.workload, workshop.target
    operator, count = registry.operator(workload.operator), most_starts(request.budget.trials)
    predicted: dict[str, tuple[float, int]] = {}
    drawn = _draw(space, DRAWN * count, random.Random(f"foreseen {request.seed}"))
    built = workshop.build_all([BuildRequest(kernel, workload, config) for config in drawn])
    chosen: list[int] = []
    try:
        for number, (config, candidate) in enumerate(zip(drawn, built, strict=True)):
            if candidate.fault is not None and not candidate.fault.passing:
                raise candidate.fault.error()
            if candidate.artifact is None or target.problem(candidate.artifact):
                continue
            features = kernel.features(workload, config, target)
            found = target.predict(operator, workload, candidate.artifact, features)
            if found is not None:
                predicted.setdefault(candidate.artifact.digest, (found.time_s, number))
        best = sorted(predicted.values())[: max(1, len(predicted) // DRAWN)]
        chosen = [number for _, number in best[:count]]
    finally:
        for number, candidate in enumerate(built):
            if number not in chosen:
                candidate.discard()
    for number in chosen:
        workshop.keep(build_of(drawn[number]), built[number])
    return best_predicted(tuple(drawn[number] for number in chosen), len(predicted), target.name)


def _draw(space: SearchSpace, count: int, rng: random.Random) -> list[Config]:
    """Up to `count` distinct valid configurations; fewer of a space that hardly has so many."""
    found: dict[tuple[int, ...], Config] = {}
    for _ in range(4 * count):
        if len(found) == count:
            break
        config = space.sample(rng)
        found.setdefault(space.indices(config), config)
    return list(found.values())
