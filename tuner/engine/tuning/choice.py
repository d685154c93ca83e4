"""Which searcher tunes which kernel: an open space can be searched by one alone."""

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel


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
