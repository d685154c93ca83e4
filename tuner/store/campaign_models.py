"""The tables of campaigns: what was asked, who took part, who was left out and why.

What was measured is in the tables of `tuner.store.models`; a campaign names its sweeps and finals.
"""

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, Text

from tuner.store.models import SWEEP_STATUSES, Base, _among, optional, required

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
    id = required(Integer, primary_key=True)
    kind = required(Text)
    experiment = required(Text)  # the file's name without folder and ending; or empty
    title = required(Text)
    command = required(Text)  # what makes it again; or empty
    asked = required(Text)  # JSON object: kernels, budget, searcher, seed, final, layers
    device_id = required(ForeignKey("devices.id"))
    target = required(Text)
    protocol = required(Text)  # JSON object: all of the protocol
    protocol_digest = required(Text)
    threads = required(Integer)
    cache = required(Text)
    status = required(Text)
    owner = required(Text)  # the process that runs it
    started_at = required(Text)
    finished_at = optional(Text)
    facts = required(Text)  # JSON object: version of the lab and the like


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
    campaign_id = required(ForeignKey("campaigns.id"), primary_key=True, autoincrement=False)
    number = required(Integer, primary_key=True, autoincrement=False)
    workload_id = required(ForeignKey("workloads.id"))
    status = required(Text)
    started_at = optional(Text)
    finished_at = optional(Text)
    final_id = optional(ForeignKey("finals.id"))
    limits = required(Text)  # JSON object: the peaks that shares are of, as measured then
    peaks_disturbed = required(Integer)  # they were measured beside other programs
    remarks = required(Text)  # JSON list: what people should know of how the final was held


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
    campaign_id = required(Integer, primary_key=True, autoincrement=False)
    number = required(Integer, primary_key=True, autoincrement=False)
    kernel = required(Text, primary_key=True)
    position = required(Integer)  # their order
    digest = required(Text)  # of its source; empty for a kernel that was skipped
    language = required(Text)
    baseline = required(Integer)
    searcher = required(Text)
    skipped = required(Text)  # why it could not take part
    sweep_id = optional(ForeignKey("sweeps.id"))
    reused = required(Integer)  # the sweep is of an earlier campaign
    best_id = optional(ForeignKey("trials.id"))
    trials = required(Integer)
    disturbed = required(Integer)  # trials timed beside other programs
    given_up = required(Text)  # why the race gave it up
    given_up_at = optional(Integer)  # after so many trials
    summary = required(Text)  # JSON object: statuses, seconds, exhausted, interrupted


class CampaignExclusionRow(Base):
    """A trial that was to be in a part's final and is not, or was thrown out of it."""

    __tablename__ = "campaign_exclusions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "number"], ["campaign_parts.campaign_id", "campaign_parts.number"],
        ),
        CheckConstraint("stage IN ('build', 'final')", name="ck_campaign_exclusions_stage"),
    )  # fmt: skip
    campaign_id = required(Integer, primary_key=True, autoincrement=False)
    number = required(Integer, primary_key=True, autoincrement=False)
    trial_id = required(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    kernel = required(Text)
    stage = required(Text)  # build: it did not build again; final: thrown out of it
    reason = required(Text)
