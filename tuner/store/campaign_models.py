"""The tables of campaigns: what was asked, who took part, who was left out and why.

What was measured is in the tables of `tuner.store.models`; a campaign names its sweeps and finals.
"""

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from tuner.store.models import SWEEP_STATUSES, Base, _among

CAMPAIGN_KINDS = ("comparison", "network", "sweep")
PART_STATUSES = ("waiting", *SWEEP_STATUSES)


class CampaignRow(Base):
    """One command that tunes: an experiment's run, a sweep of one workload, the layers of models."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint(_among("kind", CAMPAIGN_KINDS), name="ck_campaigns_kind"),
        CheckConstraint(_among("status", SWEEP_STATUSES), name="ck_campaigns_status"),
        CheckConstraint("cache IN ('cold', 'model', 'warm') AND threads >= 1", name="ck_campaigns_protocol"),
        CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_campaigns_finished_at"),
        Index("ix_campaigns_experiment", "experiment"),
    )
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    experiment: Mapped[str] = mapped_column(Text)  # the file's name without folder and ending; or empty
    title: Mapped[str] = mapped_column(Text)
    command: Mapped[str] = mapped_column(Text)  # what makes it again; or empty
    asked: Mapped[str] = mapped_column(Text)  # JSON object: kernels, budget, searcher, seed, final, layers
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    target: Mapped[str] = mapped_column(Text)
    protocol: Mapped[str] = mapped_column(Text)  # JSON object: all of the protocol
    protocol_digest: Mapped[str] = mapped_column(Text)
    threads: Mapped[int] = mapped_column(Integer)
    cache: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)  # the process that runs it
    started_at: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[str] = mapped_column(Text)  # JSON object: version of the lab and the like


class CampaignPartRow(Base):
    """One workload of a campaign."""

    __tablename__ = "campaign_parts"
    __table_args__ = (
        CheckConstraint("number >= 0", name="ck_campaign_parts_number"),
        CheckConstraint(_among("status", PART_STATUSES), name="ck_campaign_parts_status"),
        CheckConstraint("(status = 'waiting') = (started_at IS NULL)", name="ck_campaign_parts_started_at"),
        CheckConstraint(
            "(status IN ('running', 'waiting')) = (finished_at IS NULL)", name="ck_campaign_parts_finished_at"
        ),
        Index("ix_campaign_parts_workload", "workload_id"),
    )
    campaign_id: Mapped[int] = mapped_column(
        ForeignKey("campaigns.id"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"))
    status: Mapped[str] = mapped_column(Text)
    started_at: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[str | None] = mapped_column(Text)
    final_id: Mapped[int | None] = mapped_column(ForeignKey("finals.id"))
    limits: Mapped[str] = mapped_column(Text)  # JSON object: the peaks that shares are of, as measured then
    peaks_disturbed: Mapped[int] = mapped_column(Integer)  # they were measured beside other programs
    remarks: Mapped[str] = mapped_column(Text)  # JSON list: what people should know of how the final was held


class CampaignKernelRow(Base):
    """One kernel that a part of a campaign considered: tuned, reused, given up or skipped."""

    __tablename__ = "campaign_kernels"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "number"], ["campaign_parts.campaign_id", "campaign_parts.number"],
        ),
        CheckConstraint("skipped = '' OR sweep_id IS NULL", name="ck_campaign_kernels_skipped"),
        CheckConstraint("(given_up = '') = (given_up_at IS NULL)", name="ck_campaign_kernels_given_up"),
        Index("ix_campaign_kernels_sweep", "sweep_id"),
    )  # fmt: skip
    campaign_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kernel: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int] = mapped_column(Integer)  # their order
    digest: Mapped[str] = mapped_column(Text)  # of its source; empty for a kernel that was skipped
    language: Mapped[str] = mapped_column(Text)
    baseline: Mapped[int] = mapped_column(Integer)
    searcher: Mapped[str] = mapped_column(Text)
    skipped: Mapped[str] = mapped_column(Text)  # why it could not take part
    sweep_id: Mapped[int | None] = mapped_column(ForeignKey("sweeps.id"))
    reused: Mapped[int] = mapped_column(Integer)  # the sweep is of an earlier campaign
    best_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"))
    trials: Mapped[int] = mapped_column(Integer)
    disturbed: Mapped[int] = mapped_column(Integer)  # trials timed beside other programs
    given_up: Mapped[str] = mapped_column(Text)  # why the race gave it up
    given_up_at: Mapped[int | None] = mapped_column(Integer)  # after so many trials
    summary: Mapped[str] = mapped_column(Text)  # JSON object: statuses, seconds, exhausted, interrupted


class CampaignExclusionRow(Base):
    """A trial that was to be in a part's final and is not, or was thrown out of it."""

    __tablename__ = "campaign_exclusions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "number"], ["campaign_parts.campaign_id", "campaign_parts.number"],
        ),
        CheckConstraint("stage IN ('build', 'final')", name="ck_campaign_exclusions_stage"),
    )  # fmt: skip
    campaign_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    kernel: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)  # build: it did not build again; final: thrown out of it
    reason: Mapped[str] = mapped_column(Text)
