"""Campaigns as records: what was asked, who took part, who was left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo

CampaignKind = Literal["comparison", "network", "sweep"]
CampaignState = Literal["running", "finished", "interrupted", "unfinished"]
PartStatus = Literal["waiting", "running", "finished", "interrupted"]


@dataclass(frozen=True, slots=True)
class CampaignLayer:
    """A workload as the user named it: the layer of a model, or a shape.

    Attributes:
        workload: its key.
        model: the workload set it comes from; empty for a shape given by itself.
        count: how often one pass of the model computes it.
    """

    workload: str
    model: str = ""
    count: int = 1


@dataclass(frozen=True)
class CampaignSpec:
    """What a campaign is about to do; `Store.begin_campaign` takes it.

    Attributes:
        kind: how it is shown: `comparison` (a table and pictures a workload), `network` (a line a layer),
            `sweep` (what each kernel reached, then the final).
        title: for headings.
        device, target, protocol: on what, compiled for what, timed how.
        workloads: distinct, in the order they are tuned.
        asked: plain values: kernels named by the user, baselines, searcher, seed, budget, final.
        layers: the workloads as the user named them; more than `workloads` where models share some.
        experiment: name of the experiment, its file's without folder and ending; empty for none.
        command: what makes it again; empty where nothing is to be said of it.
        facts: plain values about the lab and the machine then.
    """

    kind: CampaignKind
    title: str
    device: DeviceInfo
    target: str
    protocol: Protocol
    workloads: Sequence[Workload]
    asked: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[CampaignLayer] = ()
    experiment: str = ""
    command: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CampaignKernel:
    """One kernel that a campaign considered for a workload.

    Attributes:
        name, digest, language: the kernel at the state of its source; a skipped one has no digest.
        baseline: a library people use.
        searcher: that tuned it; empty for a skipped one.
        skipped: why it could not take part; empty where it did.
        sweep_id: its sweep; `None` for one that was skipped or not reached.
        reused: the sweep was found in the store, finished by an earlier campaign.
        best_id: the fastest right trial of the sweep; `None` where nothing was right.
        trials: proposals of the sweep.
        disturbed: how many of them were timed while other programs had the cores.
        given_up: why the race gave it up; empty where it did not.
        given_up_at: after so many trials.
        summary: plain values: `statuses` (trials by status), `seconds`, `exhausted`, `interrupted`.
    """

    name: str
    digest: str = ""
    language: str = ""
    baseline: bool = False
    searcher: str = ""
    skipped: str = ""
    sweep_id: int | None = None
    reused: bool = False
    best_id: int | None = None
    trials: int = 0
    disturbed: int = 0
    given_up: str = ""
    given_up_at: int | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A trial that was to be in the final and is not, or was thrown out of it.

    Attributes:
        trial_id, kernel: which.
        stage: `build` (it did not build again) or `final` (thrown out while it was held).
        reason: why.
    """

    trial_id: int
    kernel: str
    stage: Literal["build", "final"]
    reason: str


@dataclass(frozen=True)
class CampaignPart:
    """One workload of a campaign.

    Attributes:
        number: from 0, in the order they are tuned.
        workload: what is computed.
        status: `waiting` before it is reached.
        kernels: in the order they ran; skipped ones last.
        exclusions: who was left or thrown out of the final.
        final_id: `None` where no final was held.
        limits: the device's measured peaks that shares are of: flop/s, bytes/s.
        peaks_disturbed: the peaks were measured while other programs had the cores: they may be too low.
        remarks: what people should know of how the final was held, a line each.
        started_at, finished_at: UTC.
    """

    number: int
    workload: Workload
    status: PartStatus = "waiting"
    kernels: Sequence[CampaignKernel] = ()
    exclusions: Sequence[Exclusion] = ()
    final_id: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    peaks_disturbed: bool = False
    remarks: Sequence[str] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class StoredCampaign:
    """A stored campaign.

    Attributes:
        status: as stored.
        alive: the process that runs it is still there, as far as can be told.
        parts: one a distinct workload.
    """

    id: int
    spec: CampaignSpec
    status: Literal["running", "finished", "interrupted"]
    alive: bool
    started_at: datetime
    finished_at: datetime | None
    parts: Sequence[CampaignPart] = ()

    @property
    def state(self) -> CampaignState:
        """The status; `unfinished` for one whose process was killed before it could store how it ended."""
        return "unfinished" if self.status == "running" and not self.alive else self.status

    @property
    def measured(self) -> bool:
        """Whether anything was to be measured; a campaign for a device that is not there only predicts."""
        return bool(self.spec.asked.get("measured", True))

    @property
    def again(self) -> str:
        """The command that goes on with it: a comparison does so by itself, a sweep where it is asked to."""
        command = self.spec.command
        return f"{command} --resume" if command.startswith("tuner sweep ") else command

    @property
    def reached(self) -> Sequence[CampaignPart]:
        """The parts that have begun."""
        return [part for part in self.parts if part.status != "waiting"]
