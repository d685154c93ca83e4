"""Who of a final's finalists sits on the device at the same time."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tuner import registry
from tuner.core.device import Device
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import Built


@dataclass(frozen=True)
class Seating:
    """The plan of a final's groups.

    Attributes:
        needs: bytes of the device's own memory that each finalist takes while it holds its tensors.
        room: bytes that the device has free for them; `None` where it has no memory of its own.
        one_by_one: only one process at a time may use the device.
        noun: what people call the device.
    """

    needs: tuple[float, ...]
    room: float | None = None
    one_by_one: bool = False
    noun: str = "device"

    @classmethod
    def of(cls, device: Device, workload: Workload, built: Sequence[Built]) -> "Seating":
        """The plan for these finalists: tensors, workspaces, and what a process takes by being there."""
        room = device.own_memory_free_bytes()
        if room is None:
            return cls((0.0,) * len(built), None, device.exclusive, device.called())
        tensors = registry.operator(workload.operator).memory_bytes(workload)
        needs = tuple(
            float(tensors + device.context_bytes + sum(b.artifact.workspaces.values() if b.artifact else ()))
            for b in built
        )
        return cls(needs, room, device.exclusive, device.called())

    def groups(self, present: Sequence[int], rng: random.Random) -> list[list[int]]:
        """These finalists in groups that fit, each sitting in others: no two are always kept apart.

        A finalist that does not fit alone has a group to itself, where it fails by its own doing.
        """
        found: list[list[int]] = []
        for i in rng.sample(list(present), len(present)):
            group = next((g for g in found if self._fits([*g, i])), None)
            if group is None:
                found.append([i])
            else:
                group.append(i)
        return found

    def _fits(self, group: list[int]) -> bool:
        if self.one_by_one:
            return len(group) <= 1
        return self.room is None or sum(self.needs[i] for i in group) <= self.room

    def remark(self) -> str | None:
        """What people should know of it, one line; `None` where all sit at once."""
        if self.one_by_one and len(self.needs) > 1:
            return (
                f"one finalist at a time: the {self.noun} serves one process only (exclusive-process "
                f"mode), so finalists are compared between turns of a sitting and not within rounds"
            )
        if not self._fits(list(range(len(self.needs)))):
            assert self.room is not None
            return (
                f"finalists in groups: together they take {sum(self.needs) / 2**30:.1f} GiB and the "
                f"{self.noun} has {self.room / 2**30:.1f} GiB free; across groups they are compared between "
                f"turns of a sitting and not within rounds"
            )
        return None
