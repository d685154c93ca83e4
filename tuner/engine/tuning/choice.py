"""Which searcher tunes which kernel, and what is asked of it: an open space can be searched by one alone."""

from collections.abc import Sequence

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.plan import Plan
from tuner.engine.tuning.request import SweepRequest

GIVEN = "given"
"""The searcher that proposes what somebody named, and nothing else."""


def searcher_for(kernel: Kernel, asked: str) -> str:
    """The searcher that tunes a kernel: the one asked for, or an open space's own where that one chooses.

    Raises:
        UnknownName: there is no such searcher.
        TunerError: it cannot propose configurations of this kernel.
    """
    if kernel.searcher is None:
        if registry.searcher(asked).open_space:
            owners = sorted(k.name for k in registry.kernels().values() if k.searcher == asked)
            raise TunerError(
                f"searcher {asked} cannot propose configurations of {kernel.name}: choose one of its kernels "
                f"({', '.join(owners)}), or another searcher"
            )
        return asked
    if asked != kernel.searcher and not registry.searcher(asked).chooses:
        raise TunerError(
            f"kernel {kernel.name} has an open space: only searcher {kernel.searcher} can propose from it, "
            f"not {asked}"
        )
    reason = registry.searcher(kernel.searcher).unavailable()
    if reason:
        raise TunerError(
            f"searcher {kernel.searcher}, which kernel {kernel.name} needs, is not here: {reason}"
        )
    return kernel.searcher


def requests_of(
    workload: Workload, kernels: Sequence[Kernel], plan: Plan, target: Target
) -> list[SweepRequest]:
    """A sweep for each kernel: of a library all its configurations (most have one), of a kernel that has
    configurations in `plan.configs` these, of any other one a search.

    Raises:
        UnknownName: there is no such searcher.
        TunerError: it cannot propose configurations of a kernel.
    """
    return [_request(workload, kernel, plan, target) for kernel in kernels]


def _request(workload: Workload, kernel: Kernel, plan: Plan, target: Target) -> SweepRequest:
    named = plan.configs.get(kernel.name)
    if kernel.baseline:
        searcher, budget = "random", Budget(trials=kernel.space(workload, target).size or 1)
    elif named:
        searcher, budget = GIVEN, Budget(trials=len(named))
    else:
        searcher, budget = searcher_for(kernel, plan.searcher), plan.budget
    options = {} if kernel.baseline else dict(plan.options)
    if named:
        options["configs"] = [dict(config) for config in named]
    return SweepRequest(
        kernel, workload, searcher, plan.seed, budget, plan.resume, plan.remeasure, options, plan.foresee,
        tuple(plan.starts.get(kernel.name, ())),
    )  # fmt: skip
