"""What a builder makes: a file that a device can load, with what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuner.core.digest import digest
from tuner.core.source import Argument, Growth, KernelStep, Launch, Source


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler and all that changes what it emits: name, version, flags that every source gets."""

    name: str
    version: str
    flags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Identifies the toolchain in trial identities."""
        return digest([self.name, self.version, list(self.flags)])

    def instead_of(self, before: str) -> str:
        """That something was built by `before` (name and version, as text) and would be built by this one."""
        now = f"{self.name} {self.version}"
        if before == now:
            return f"built by {now} then and now, with other flags or libraries now"
        return f"built by {before or 'another toolchain'} then, by {now} now"


@dataclass(frozen=True)
class Artifact:
    """A built kernel; plain data, so that it travels between processes.

    Attributes:
        path: the file to load, in a folder of its own.
        format: how a device loads it: `shared_library` (C symbols), `callable`
            (`module:function` in `entry`), `cubin`.
        entry: the symbol to call.
        arguments: in call order.
        digest: of the binary's code: equal digests run alike.
        toolchain: what built it.
        threads: CPU threads it was built for.
        launch: for GPU kernels.
        metrics: resources: `registers`, `shared_bytes`, `spill_bytes`, `code_bytes`, `occupancy`, ...; of
            several kernels (`steps`) the last one's.
        before: GPU kernels launched before `entry` in every call, in order, each with its metrics.
        prepare, growth: as in `Source`.
    """

    path: Path
    format: str
    entry: str
    arguments: tuple[Argument, ...]
    digest: str
    toolchain: Toolchain
    threads: int = 1
    launch: Launch | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    before: tuple[KernelStep, ...] = ()
    prepare: KernelStep | None = None
    growth: Growth | None = None

    @property
    def steps(self) -> tuple[KernelStep, ...]:
        """All kernels of a call, in order."""
        return (*self.before, KernelStep(self.entry, self.arguments, self.launch, self.metrics))

    def sized(self, source: Source) -> "Artifact":
        """This binary with the arguments of another shape, as `source` has them."""
        prepare, growth = self.prepare, self.growth
        if prepare is not None and source.prepare is not None:
            prepare = replace(prepare, arguments=source.prepare.arguments)
        if growth is not None and source.growth is not None:
            growth = replace(growth, arguments=source.growth.arguments)
        return replace(self, arguments=source.arguments, prepare=prepare, growth=growth)

    @property
    def workspaces(self) -> dict[str, int]:
        """The memory that all steps share, by name: bytes, the most that any of them asks for."""
        found: dict[str, int] = {}
        for step in (*self.steps, *filter(None, [self.prepare])):
            for argument in step.arguments:
                if argument.kind == "workspace":
                    found[argument.name] = max(found.get(argument.name, 1), int(argument.value or 0))
        return found
