"""What travels together through a campaign: the device, how it times, the plan, the store, who is told."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.core.device import Device
from tuner.core.protocol import Protocol
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.plan import Plan

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Setting:
    """On what and how campaigns are run.

    Attributes:
        device, protocol: where it is measured, timed how.
        plan: budgets and the final.
        store: keeps every trial.
        observer: is told how it goes.
    """

    device: Device
    protocol: Protocol
    plan: Plan
    store: "Store"
    observer: Observer = field(default_factory=Observer)
