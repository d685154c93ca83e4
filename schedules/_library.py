"""What all library baselines share: no parameters, and a Python factory in place of source code."""

from importlib.util import find_spec
from typing import ClassVar

from tuner.core.kernel import Argument, Kernel, Source
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload


class LibraryKernel(Kernel):
    """A library that people use for an operator, measured as they would call it.

    A subclass names the importable `libraries` it needs, the `extra` that installs them, and `factory`,
    "module:function". The factory is called as `factory(workload, tensors, threads)` with the arrays of
    the operator's signature by name, and returns a function of no arguments that fills the outputs
    in place, with as few copies as the library allows.
    """

    language = "python"
    baseline = True
    libraries: ClassVar[tuple[str, ...]]
    extra: ClassVar[str] = ""
    factory: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]

    def unavailable(self) -> str | None:
        """Names the extra to install; looks for the libraries without importing them."""
        missing = [name for name in self.libraries if find_spec(name) is None]
        if not missing:
            return None
        return f"{missing[0]} is not installed: pip install 'kernel-tuner-lab[{self.extra}]'"

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Empty: one configuration, `{}`."""
        return SearchSpace((), (), self.constants(workload, target))

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The factory's name, with the workload's key among the options."""
        options = {"workload": workload.key, "libraries": list(self.libraries)}
        arguments = tuple(Argument(name) for name in self.tensors)
        function = self.factory.partition(":")[2]
        return Source(
            self.language, self.factory, function, arguments, target_threads(target), options=options
        )


def target_threads(target: Target) -> int:
    """CPU threads to lower for: the limit `threads` (the protocol's) where there is one, else all `cores`."""
    return int(target.limits.get("threads", target.limits.get("cores", 1)))
