"""The configurations that a user names as defaults: refused before anything is measured, or fitting here."""

from collections.abc import Mapping, Sequence

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload


def check_defaults(
    defaults: Mapping[str, Config], kernels: Mapping[Workload, Sequence[Kernel]], target: Target
) -> None:
    """Before anything is measured. A default that fits one of several workloads is no error.

    Args:
        defaults: by kernel.
        kernels: who is tuned, by workload.
        target: they are compiled for.

    Raises:
        TunerError: a default is of a kernel that is not known or takes no part, or is no configuration of
            that kernel at any of the workloads.
    """
    for name, config in defaults.items():
        known = {workload: _tuned(chosen).get(name) for workload, chosen in kernels.items()}
        reasons = {
            workload: kernel.space(workload, target).why_invalid(config)
            for workload, kernel in known.items()
            if kernel is not None
        }
        if not reasons:
            there = sorted({other for chosen in kernels.values() for other in _tuned(chosen)})
            registry.kernel(name)  # its error says more of a name that is none
            tuned = ", ".join(there) or "none"
            raise TunerError(f"no default for {name}: the kernels tuned here are {tuned}")
        if all(reason is not None for reason in reasons.values()):
            workload, reason = next(iter(reasons.items()))
            raise TunerError(f"the default of {name} at {workload.key}: {reason}")


def fitting_defaults(
    defaults: Mapping[str, Config], kernels: Sequence[Kernel], workload: Workload, target: Target
) -> tuple[dict[str, Config], list[str]]:
    """Those of the defaults that are configurations at this workload; of the others a remark each.

    Args:
        defaults, kernels, workload, target: as for `check_defaults`, of one workload.
    """
    fitting, remarks = {}, []
    for name, kernel in _tuned(kernels).items():
        if name not in defaults:
            continue
        reason = kernel.space(workload, target).why_invalid(defaults[name])
        if reason is None:
            fitting[name] = defaults[name]
        else:
            remarks.append(
                f"{name}: the default that was named is none of its configurations here ({reason}): it is "
                "held against the first of its lists"
            )
    return fitting, remarks


def _tuned(kernels: Sequence[Kernel]) -> dict[str, Kernel]:
    """Those that have a default to be held against."""
    return {kernel.name: kernel for kernel in kernels if not (kernel.baseline or kernel.searcher)}
