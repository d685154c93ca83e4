"""What a kernel is tuned over: its valid configurations, and the shapes it must be right on."""

from tuner import registry
from tuner.core.errors import InvalidSpace
from tuner.core.kernel import Kernel
from tuner.core.space import SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.candidate.evaluator import Evaluator


def space_of(kernel: Kernel, workload: Workload, workshop: Evaluator) -> SearchSpace:
    """The kernel's space; raises `TunerError` where it cannot serve or nothing is valid."""
    kernel.require(workload, workshop.target)
    space = kernel.space(workload, workshop.target)
    if space.size == 0:
        names = ", ".join(c.name for c in space.constraints)
        raise InvalidSpace(f"kernel {kernel.name} has no valid configuration for {workload.key}: {names}")
    return space


def companions_of(kernel: Kernel, workload: Workload, target: Target) -> tuple[Workload, ...]:
    """The ragged shapes beside a workload that a kernel is made for: those it is verified on too."""
    if kernel.refuses_at_run:
        return ()
    companions = registry.operator(workload.operator).companions(workload)
    return tuple(w for w in companions if kernel.unsupported(w, target) is None)
