"""A device that is not there: a CUDA target to compile for, where nothing can run."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.device import Device, Executable
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence
from tuner.core.protocol import Protocol
from tuner.core.target import Target


class DescribedDevice(Device):
    """Stands in trial identities for a target without a device; cannot load, run or time anything.

    Args:
        target: what is compiled for.
        board: the product its limits are of, for people.
    """

    name = "described"
    target_kind = ""  # of any: it is made for a target
    evidence = Evidence.PREDICTED

    def __init__(self, target: Target, board: str) -> None:
        self._target, self._board = target, board

    @classmethod
    def discover(cls) -> Sequence["DescribedDevice"]:
        """None: it is made for a target, not found."""
        return []

    @property
    def target(self) -> Target:
        """As given."""
        return self._target

    @property
    def fingerprint(self) -> str:
        """Names the target; unlike that of any device."""
        return f"described-{self._target.name}"

    def facts(self) -> Mapping[str, Any]:
        """The limits of the target, and that it is no device."""
        model = f"{self._board} as described (no device)"
        return {"model": model, **{k: float(v) for k, v in self._target.limits.items()}}

    def default_protocol(self) -> Protocol:
        """One thread: what is compiled for a device of its own has no part in the host's."""
        return Protocol(threads=1)

    def load(self, artifact: Artifact) -> Executable:
        """Nothing can be loaded."""
        raise RuntimeError(f"{self._target.name} is only described: there is no device")

    def prepare(self, threads: int) -> None:
        """Nothing to prepare."""

    def calibrate(self) -> float:
        """Nothing to calibrate."""
        raise RuntimeError("a described device has no speed")

    def flush(self) -> None:
        """Nothing to flush."""

    def measure_limits(self) -> Mapping[str, float]:
        """Nothing is measured."""
        return {}


def described(target: str | None, device: str | None = None) -> DescribedDevice:
    """What `--no-device`, or an experiment with `no_device`, compiles for.

    Args:
        target: by name.
        device: has to be `None`: one that is named is one that is there.

    Raises:
        TunerError: no target is named, or one without a model to rank by; a device is.
        UnknownName: there is no such target.
    """
    if target is None or device is not None or registry.target(target).model is None:
        raise TunerError(
            "--no-device compiles for a GPU (or another target with a model to rank by) that is not "
            "here: give --target cuda:sm_90, no --device"
        )
    meant = registry.target(target)
    return DescribedDevice(meant, registry.target_kind(meant.kind).product(meant))
