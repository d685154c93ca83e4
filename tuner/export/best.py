"""The best stored configurations, one a workload and device, as `tuner export --best` writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence
from tuner.export.provenance import entry_of
from tuner.store.records import BestRow

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Best:
    """A best configuration with what built it.

    Attributes:
        row: as `Store.best` gives it.
        toolchain: name and version; empty where only its digest is known.
    """

    row: BestRow
    toolchain: tuple[str, str] = ("", "")

    @property
    def entry(self) -> dict[str, Any]:
        """Its plain values."""
        name, version = self.toolchain
        return {**entry_of(self.row), "toolchain_name": name, "toolchain_version": version}


def select(
    store: "Store", operator: str | None = None, workload: str | None = None, kernel: str | None = None,
    device: str | None = None, evidence: str = "measured",
) -> list[Best]:  # fmt: skip
    """The fastest tuned configuration of each workload on each device; of one kernel where it is named.

    Libraries have no configuration and are left out.

    Args:
        store: to read.
        operator, workload, kernel: these only; `workload` is a key.
        device: a part of its name or fingerprint.
        evidence: what a time has to be worth.

    Raises:
        TunerError: nothing fits.
    """
    rows = store.best(operator, workload, kernel=kernel, evidence=[Evidence(evidence)])
    chosen: dict[tuple[str, str], BestRow] = {}
    for row in rows:
        known = registry.kernels().get(row.kernel.name)
        named = f"{row.device.name}\n{row.device.fingerprint}".lower()
        if (known is not None and known.baseline) or (device is not None and device.lower() not in named):
            continue
        place = row.workload.key, row.device.fingerprint
        if place not in chosen or row.time_s < chosen[place].time_s:
            chosen[place] = row
    if not chosen:
        asked = [text for text in (operator, workload, kernel, device) if text]
        raise TunerError(f"no {evidence} best is stored" + (f" of {', '.join(asked)}" if asked else ""))
    return [Best(row, store.trial(row.trial_id).toolchain[:2]) for row in chosen.values()]


def by(rows: Sequence[Best], *names: str) -> Mapping[tuple[str, ...], list[Best]]:
    """Groups by plain values of their entries: `by(rows, "kernel", "device")`."""
    groups: dict[tuple[str, ...], list[Best]] = {}
    for best in rows:
        entry = best.entry
        groups.setdefault(tuple(str(entry[name]) for name in names), []).append(best)
    return groups
