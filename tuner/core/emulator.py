"""What runs kernels without the hardware they are for: right or wrong, never a time."""

import typing
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.device import Device
from tuner.core.measurement import Evidence
from tuner.core.source import Source
from tuner.core.target import Target


class Interpreter(typing.Protocol):
    """Runs the sources of one language on NumPy arrays, unbuilt; see `Builder.interpreter`."""

    alive: bool
    """False after an error of its own: another one is needed."""

    def run(
        self, source: Source, tensors: Mapping[str, np.ndarray], timeout_s: float
    ) -> Mapping[str, np.ndarray]:
        """All tensors as the kernel left them; those given are not changed.

        Raises:
            RuntimeError: the kernel raises, or has no end within `timeout_s`.
        """

    def close(self) -> None:
        """Ends what it started."""


class SanitizerFinding(typing.Protocol):
    """Something that a sanitizer saw; its text names the place."""

    @property
    def kind(self) -> str:
        """`host_code` where the artifact was refused before it ran."""

    def as_dict(self) -> Mapping[str, typing.Any]:
        """Plain values, for JSON."""


class Emulated(typing.Protocol):
    """What came of one run of an artifact."""

    @property
    def completed(self) -> bool:
        """Whether it ran to its end."""

    @property
    def findings(self) -> Sequence[SanitizerFinding]:
        """What the sanitizers saw."""

    @property
    def outputs(self) -> Mapping[str, np.ndarray]:
        """The tensors it was to write."""

    @property
    def error(self) -> str:
        """Why it did not complete, in one line."""


class Emulator(Device):
    """A device of a target that is not here, run by this machine's CPU. A subclass in its own file is found
    by the registry as any device; its constructor takes the target that it stands for.
    """

    evidence = Evidence.EMULATED
    builder: ClassVar[str]
    """The name of the builder whose artifacts it loads. That one compiles what the target's own builders give
    as `cuda_source`; the source's option `sanitize` asks it for the sanitizers."""

    @abstractmethod
    def __init__(self, target: Target) -> None: ...

    @abstractmethod
    def examine(
        self, artifact: Artifact, tensors: Mapping[str, np.ndarray], outputs: Collection[str], seed: int,
        timeout_s: float, initial: Collection[str] = (),
    ) -> Emulated:  # fmt: skip
        """Runs an artifact once in a child process.

        Args:
            artifact: of `builder`.
            tensors: by the names of its arguments; not changed.
            outputs: names of those it writes.
            seed: other than 0: threads run in an order of their own.
            timeout_s: wall clock.
            initial: those of the outputs that begin with the values given, and are changed in place.
        """
