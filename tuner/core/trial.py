"""A trial: one configuration built and measured once, and what makes two of them the same."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from tuner.core.digest import digest
from tuner.core.measurement import Measurement
from tuner.core.space import Config
from tuner.core.workload import Workload


@dataclass(frozen=True)
class TrialKey:
    """The identity of a trial: whatever could change its result.

    Attributes:
        workload: operator, dtype and shape.
        kernel: its name.
        kernel_digest: of its source files.
        config: the parameters' values.
        target: name of the target it is compiled for.
        toolchain: digest of the toolchain.
        device: fingerprint of the device.
        protocol: digest of the protocol.
    """

    workload: Workload
    kernel: str
    kernel_digest: str
    config: Config
    target: str
    toolchain: str
    device: str
    protocol: str

    @cached_property
    def digest(self) -> str:
        """One text for the whole identity."""
        return digest(
            [self.workload.key, self.kernel, self.kernel_digest, dict(self.config), self.target,
             self.toolchain, self.device, self.protocol]
        )  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A key with its outcome.

    Attributes:
        key: what was tried.
        measurement: what came of it.
        id: in the store; `None` before it is stored.
        created_at: UTC.
        host: where it was built and run; empty where that is not known (trials of older databases, imports).
    """

    key: TrialKey
    measurement: Measurement
    id: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    host: str = ""
