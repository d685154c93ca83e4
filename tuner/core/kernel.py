"""A kernel: a template that turns a configuration into source, without compiling it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tuner.core.errors import Unavailable
from tuner.core.identity import kernel_identity, read
from tuner.core.python_imports import imported_files
from tuner.core.source import Argument, Growth, KernelStep, Launch, Source
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Option, Workload

__all__ = [
    "FROZEN", "STRICT", "Argument", "Growth", "Kernel", "KernelStep", "Launch", "Source", "kind_of",
    "less_accurate", "unfrozen",
]  # fmt: skip

STRICT = "strict"
"""An operator's option of this name, a boolean, keeps kernels away that are not of `special_values`."""

FROZEN = "frozen"
"""An operator's option of this name, a boolean: its weights are the same in every call. A kernel may then lay
them out ahead (`Kernel.constant`), outside of what is timed; none has to."""


def unfrozen(workload: Workload) -> Workload:
    """The workload without that option: the same tensors and the same result."""
    options = tuple((name, value) for name, value in workload.options if name != FROZEN)
    return Workload(workload.operator, workload.dtype, workload.dims, options)


def kind_of(workload: Workload) -> tuple[str, str, bool]:
    """Operator, dtype, and whether it is frozen: workloads that differ here never stand in for each other. A
    time with weights laid out ahead says nothing of one without."""
    return workload.operator, workload.dtype, bool(workload.option(FROZEN, False))


def less_accurate(kernels: Iterable["Kernel | None"]) -> list[str]:
    """Of each kernel that is less accurate than its dtype somewhere a line that says which, and where."""
    return list(dict.fromkeys(f"{k.name}: {k.accuracy}" for k in kernels if k is not None and k.accuracy))


class Kernel(ABC):
    """One implementation of an operator in one language, with its search space.

    A subclass in its own file under `schedules/`, or a C++ or CUDA file under `cuda_src/` (see
    `tuner.core.source_kernel`), is found by the registry.
    """

    name: str
    operator: str
    language: str
    summary: str
    dtypes: tuple[str, ...]
    target_kinds: tuple[str, ...] = ("cpu",)
    """The kinds of targets it serves; the first is the one it is examined for where nobody names a target."""
    options: Mapping[str, Option] = {}
    """Options of the operator it honours, with the operator's default values."""
    shape_generic: bool = False
    """Whether one artifact computes any shape (dimensions are arguments) with the workload's options."""
    searcher: str | None = None
    """Where its space is open (`tuner.core.trace_space`), the only searcher that can propose from it. A
    configuration is then of one workload alone, and the kernel is tuned only when it is asked for."""
    constant: tuple[str, ...] = ()
    """Inputs that it may take to hold the same values in every call, as a library does that lays weights out
    once. All others may change between two calls, and do while it is timed."""
    only_frozen: bool = False
    """Whether it serves frozen workloads alone: what it lays out ahead is no part of other comparisons."""
    grows: bool = False
    """Whether more can be laid out behind what is (`Growth`), as in a cache of keys and values."""
    baseline: bool = False
    """Whether it is a library people use, that others are compared with: its space is empty."""

    refuses_at_run: bool = False
    """Whether a library refuses shapes by rules of its own, which only a call tells: it is verified at the
    asked shape alone, since to refuse a ragged companion would be no error of it."""

    requires: tuple[str, ...] = ()
    """Features that a target has to have. `amx-int8:int8` is required for int8 alone."""

    claims: tuple[str, ...] = ()
    """What its machine code shows and `tuner.lab.ladder` holds it to: `wide_loads`, 128 bits a load;
    `tensor_cores`, their instructions in the main loop. `tensor_cores:f16` is claimed of f16 alone."""

    checked_only: str | None = None
    """Why no device times it and `tuner check` alone runs it; `None` for all but some files from outside."""
    accuracy: str = ""
    """Where results are less accurate than the dtype's own arithmetic, one line for people; empty where they
    are nowhere. It is said wherever the kernel is what somebody gets: `less_accurate`."""
    accumulator: str = ""
    """The type its sums are made in, where it is narrower than the operator's tolerance assumes: `f16`."""
    initial: Mapping[str, str | float] = {}
    """Outputs that hold another tensor's values, or a number, when it starts, and are changed in place."""

    special_values: bool = True
    """Whether a NaN or an infinity reaches those elements of the output alone that the operator's definition
    lets it reach. `False` for algorithms that add and subtract neighbours first (Winograd, Strassen): they
    are not verified on special values, and do not serve a workload with the option `strict`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuses what would silently be a kernel for CPUs."""
        super().__init_subclass__(**options)
        kinds = cls.__dict__.get("target_kinds", ())
        if "target_kind" in cls.__dict__ or isinstance(kinds, str):
            raise TypeError('a kernel\'s kinds of targets are a tuple: target_kinds = ("cuda",)')

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Why this kernel cannot compute a workload on a target; `None` if it can."""
        if workload.operator != self.operator:
            return f"it computes {self.operator}, not {workload.operator}"
        if workload.dtype not in self.dtypes:
            return f"it has no dtype {workload.dtype}, only {', '.join(self.dtypes)}"
        if target.kind not in self.target_kinds:
            return f"it is for {' and '.join(self.target_kinds)}, not {target.kind}"
        for name, value in workload.options:
            if name == STRICT:
                # `strict` is about the arithmetic, not what is computed: no kernel has to declare it.
                if value and not self.special_values:
                    return "its arithmetic spreads NaN and infinities, and the workload is strict"
            elif name != FROZEN and name not in self.options:
                return f"it does not honour option {name}"
        if self.only_frozen and not workload.option(FROZEN, False):
            ahead = " and ".join(self.constant)
            return f"it lays {ahead} out ahead, and the workload is not frozen: add frozen to the shape"
        for name in self.required(workload.dtype):
            if name not in target.features:
                whose = "" if name in self.requires else f", which {workload.dtype} needs"
                return f"{target.name} lacks {name}{whose}"
        return None

    def required(self, dtype: str) -> list[str]:
        """Features of a target that `requires` names for workloads of a dtype."""
        needed = (text.partition(":")[::2] for text in self.requires)
        return [name for name, only in needed if only in ("", dtype)]

    def unavailable(self) -> str | None:
        """Why this kernel cannot be used on this machine (a library is missing); `None` if it can."""
        return None

    def fewer_operations(self, workload: Workload) -> float:
        """How many times fewer operations it does than `Operator.flops` counts: 1 where it computes what the
        definition says, 2.25 for Winograd's F(2x2, 3x3) (Lavin and Gray 2016)."""
        return 1.0

    def require(self, workload: Workload, target: Target) -> None:
        """Raises `Unavailable` with the reason where the kernel cannot serve."""
        reason = self.unavailable() or self.checked_only or self.unsupported(workload, target)
        if reason:
            raise Unavailable(f"kernel {self.name} cannot serve {workload.key} on {target.name}: {reason}")

    def constants(self, workload: Workload, target: Target) -> dict[str, Any]:
        """What constraints may refer to: dimensions, options with defaults, limits, `element_bytes`."""
        fixed = {**target.limits, "element_bytes": workload.element_bytes}
        return {**fixed, **dict(workload.dims), **self.options, **dict(workload.options)}

    @abstractmethod
    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """The configurations of this kernel for a workload on a target."""

    @abstractmethod
    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The source of a valid configuration; compiles nothing.

        Raises:
            InvalidConfig: the configuration cannot be lowered for a reason the space could not declare.
        """

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Derived quantities that a model may learn from (tile areas, bytes in cache, ...)."""
        return {}

    def source_files(self) -> tuple[Path, ...]:
        """The files this kernel's source is made of, its own first: what is changed in any of them, but for
        comments, makes it another kernel.

        By default the file of its class and what that imports from `schedules/` or a plug-in folder.
        """
        import inspect

        own = Path(inspect.getfile(type(self)))
        return (own, *imported_files(own))

    @property
    def digest(self) -> str:
        """The identity of its source: of `source_files` without what no compiler looks at."""
        return self.present_digest()

    def present_digest(self) -> str:
        """The same of the files as they are now, where `digest` may be of when they were read.

        Raises:
            OSError, InvalidSpace: they cannot be read at this moment.
        """
        return kernel_identity(read(self.source_files()))
