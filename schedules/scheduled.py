"""What kernels in TensorIR share: a schedule becomes a source, and indices have 32 bits."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.library import target_threads


def too_large(elements: int) -> str | None:
    """Why a workload whose largest tensor has so many elements is refused: indices are 32 bits wide."""
    return "a tensor has 2^30 elements or more" if elements >= 2**30 else None


def no_bf16(workload: Workload, target: Target) -> str | None:
    """Why bf16 is refused on a GPU before sm_80, which has neither arithmetic nor tensor cores for it.

    TVM 0.27 widens it there by itself and writes `make_ulonglong4` with eight arguments for a vector of 8.
    """
    if workload.dtype != "bf16" or "cp_async" in target.features:  # the two came together
        return None
    return f"{target.name} lacks cp_async, which bf16 needs"


class ScheduledKernel(Kernel):
    """A kernel for the CPU that `schedule` makes; its source is the scheduled program as TVMScript."""

    language = "tensorir"

    @abstractmethod
    def schedule(self, workload: Workload, config: Config, target: Target) -> Any:
        """The `tvm.s_tir.Schedule` of a configuration."""

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The scheduled program."""
        schedule = self.schedule(workload, config, target)
        arguments = tuple(Argument(str(p.name)) for p in schedule.mod["main"].params)
        text = schedule.mod.script(show_meta=False)
        return Source(self.language, text, "main", arguments, target_threads(target))


@dataclass(frozen=True)
class Choices:
    """A workload and a configuration, as plain values that are attributes too.

    Attributes:
        sizes: of the workload, its options among them.
        config: parameters.
    """

    sizes: Mapping[str, Any]
    config: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        for values in (self.sizes, self.config):
            if name in values:
                return values[name]
        raise AttributeError(name)


def launched(program: Choices, module: str, names: list[str], launch: Launch) -> Source:
    """The source of a kernel for GPUs: sizes and choices, of which a function makes the program.

    Args:
        program: sizes and choices.
        module: the function, as `module:function`.
        names: of the tensors, in order.
        launch: blocks and threads.
    """
    options = {"sizes": dict(program.sizes), "config": dict(program.config)}
    arguments = tuple(Argument(name) for name in names)
    return Source("tensorir", module, "main_kernel", arguments, 1, launch, options)
