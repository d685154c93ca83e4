"""A kernel: a template that turns a configuration into source, without compiling it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuner.core.digest import digest_files
from tuner.core.errors import Unavailable
from tuner.core.python_imports import imported_files
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Option, Workload

STRICT = "strict"
"""An operator's option of this name, a boolean, keeps kernels away that are not of `special_values`."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an entry point, in call order.

    Attributes:
        name: of a tensor of the operator's signature (`kind` "tensor"; a null pointer where the workload
            has no such tensor), or of a scalar.
        kind: `tensor`, `int32`, `int64`, `float32`, `struct` (by value) or `workspace`: device memory of the
            kernel's own, set to zero once, before the first call. What must be zero for the next call the
            kernel leaves so.
        value: of a scalar; of a workspace its bytes.
        fields: of a struct, with C's alignment.
    """

    name: str
    kind: Literal["tensor", "int32", "int64", "float32", "workspace", "struct"] = "tensor"
    value: float | int | None = None
    fields: tuple["Argument", ...] = ()

    def __post_init__(self) -> None:
        # Also from JSON, where tuples are lists and arguments tables.
        fields = tuple(f if isinstance(f, Argument) else Argument(**f) for f in self.fields)
        object.__setattr__(self, "fields", fields)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a GPU kernel is started: blocks, threads a block, bytes of dynamic shared memory."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One GPU kernel of several that make one call, launched one after the other.

    Attributes:
        entry: the symbol to call.
        arguments: in call order. Workspaces of one name are one piece of memory for all steps.
        launch: its own.
        metrics: of this kernel alone: resources once it is built; `flops` and `least_bytes` of its work
            where the builder knows them.
    """

    entry: str
    arguments: tuple[Argument, ...]
    launch: Launch | None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What a builder compiles: complete, so that equal sources give equal artifacts.

    Attributes:
        language: the name of the builder: `cxx`, `nvrtc`, `triton`, `tensorir`, `tensorir_cuda`, `python`.
        text: source code, or what stands for it (TVMScript, `module:function`).
        entry: the symbol to call.
        arguments: in call order.
        threads: CPU threads the kernel was lowered for.
        launch: for GPU kernels.
        options: for the builder, plain values only: extra flags, include folders.
        before: GPU kernels launched before `entry` in every call, in order; `entry`, `arguments` and
            `launch` are the last one's.
        metrics: what is known of the last kernel before it is built, as in `Step`.
    """

    language: str
    text: str
    entry: str
    arguments: tuple[Argument, ...]
    threads: int = 1
    launch: Launch | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Step, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All kernels of a call, in order."""
        return (*self.before, Step(self.entry, self.arguments, self.launch, self.metrics))


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
    target_kind: str = "cpu"
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
    baseline: bool = False
    """Whether it is a library people use, that others are compared with: its space is empty."""

    checked_only: str | None = None
    """Why no device times it and `tuner check` alone runs it; `None` for all but some files from outside."""
    accumulator: str = ""
    """The type its sums are made in, where it is narrower than the operator's tolerance assumes: `f16`."""
    initial: Mapping[str, str | float] = {}
    """Outputs that hold another tensor's values, or a number, when it starts, and are changed in place."""

    special_values: bool = True
    """Whether a NaN or an infinity reaches those elements of the output alone that the operator's definition
    lets it reach. `False` for algorithms that add and subtract neighbours first (Winograd, Strassen): they
    are not verified on special values, and do not serve a workload with the option `strict`."""

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Why this kernel cannot compute a workload on a target; `None` if it can."""
        if workload.operator != self.operator:
            return f"it computes {self.operator}, not {workload.operator}"
        if workload.dtype not in self.dtypes:
            return f"it has no dtype {workload.dtype}, only {', '.join(self.dtypes)}"
        if target.kind != self.target_kind:
            return f"it is for {self.target_kind}, not {target.kind}"
        for name, value in workload.options:
            if name == STRICT:
                # About the arithmetic, not what is computed: no kernel has to declare it.
                if value and not self.special_values:
                    return "its arithmetic spreads NaN and infinities, and the workload is strict"
            elif name not in self.options:
                return f"it does not honour option {name}"
        return None

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
        """The files this kernel's source is made of, its own first: a change in any makes it another kernel.

        By default the file of its class and what that imports from `schedules/` or a plug-in folder.
        """
        import inspect

        own = Path(inspect.getfile(type(self)))
        return (own, *imported_files(own))

    @property
    def digest(self) -> str:
        """A digest of `source_files`."""
        return digest_files(self.source_files())
