"""What a kernel is lowered to: source text, the symbol to call, its arguments and launches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an entry point, in call order.

    Attributes:
        name: of a tensor of the operator's signature (`kind` "tensor"; a null pointer where the workload
            has no such tensor), or of a scalar.
        kind: `tensor`, `int32`, `int64`, `float32`, `struct` (by value), `map` (a tensor as the copy engine
            is told of it: `tuner.core.tensor_map`) or `workspace`: device memory of the kernel's own, set to
            zero once, before the first call. What must be zero for the next call the kernel leaves so.
        value: of a scalar; of a workspace its bytes.
        fields: of a struct, with C's alignment; of a map its numbers.
    """

    name: str
    kind: Literal["tensor", "int32", "int64", "float32", "workspace", "struct", "map"] = "tensor"
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
class KernelStep:
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


ADDED = "added"
"""What arguments of a `Growth` call the number of entries that are laid out more."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How more of constant inputs is laid out behind what `prepare`, or a growth before, has laid out.

    Attributes:
        entry: the symbol to call.
        arguments: in call order. Tensors hold the new entries alone.
        along: the dimension that grows. Its argument, here and in the kernel's own, is how many entries there
            are (before); workspaces have room for as many as the workload has.
    """

    entry: str
    arguments: tuple[Argument, ...]
    along: str


@dataclass(frozen=True)
class Source:
    """What a builder compiles: complete, so that equal sources give equal artifacts.

    Attributes:
        language: of the builder: `cxx`, `nvrtc`, `triton`, `tensorir`, `python`, or a plug-in's.
        text: source code, or what stands for it (TVMScript, `module:function`).
        entry: the symbol to call.
        arguments: in call order.
        threads: CPU threads the kernel was lowered for.
        launch: for GPU kernels.
        options: for the builder, plain values only: extra flags, include folders.
        before: GPU kernels launched before `entry` in every call, in order; `entry`, `arguments` and
            `launch` are the last one's.
        prepare: of a CPU kernel: called with the inputs that it takes, before the first call and whenever
            one of them changes; it fills workspaces that `entry` reads. Not part of a call's time.
        growth: where what `prepare` lays out can grow.
        metrics: what is known of the last kernel before it is built, as in `KernelStep`.
    """

    language: str
    text: str
    entry: str
    arguments: tuple[Argument, ...]
    threads: int = 1
    launch: Launch | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[KernelStep, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    prepare: KernelStep | None = None
    growth: Growth | None = None

    @property
    def steps(self) -> tuple[KernelStep, ...]:
        """All kernels of a call, in order."""
        return (*self.before, KernelStep(self.entry, self.arguments, self.launch, self.metrics))
