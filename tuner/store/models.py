"""The tables, as SQLAlchemy 2 declarative models. Plain names, plain text, readable by any SQL tool.

Times are seconds, timestamps UTC in ISO 8601 text of fixed width (so that text order is time order),
lists and mappings JSON text. Check constraints refuse rows that contradict themselves, whoever writes.
"""

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tuner.core.measurement import TIMED_EVIDENCE, TIMED_STATUSES, Evidence, Status

SWEEP_STATUSES = ("running", "finished", "interrupted")
ROLES = ("candidate", "baseline")


def _among(column: str, values: object) -> str:
    # Sorted, since the text of a constraint is part of the schema and enumerations of sets vary by process.
    return f"{column} IN ({', '.join(repr(str(v)) for v in sorted(values))})"  # type: ignore[call-overload]


def _all_or_none(*columns: str) -> str:
    nulls = " AND ".join(f"{c} IS NULL" for c in columns)
    positive = " AND ".join(f"{c} IS NOT NULL AND {c} > 0" for c in columns)
    return f"({nulls}) OR ({positive})"


class Base(DeclarativeBase):
    """Holds the metadata of all tables."""


class WorkloadRow(Base):
    """One operator at one dtype and shape."""

    __tablename__ = "workloads"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(Text, unique=True)
    operator: Mapped[str] = mapped_column(Text, index=True)
    dtype: Mapped[str] = mapped_column(Text)
    dims: Mapped[str] = mapped_column(Text, default="{}")  # JSON object in the operator's order
    options: Mapped[str] = mapped_column(Text, default="{}")  # JSON object, non-default values only


class DeviceRow(Base):
    """A piece of hardware; `facts` as its driver tells them, `limits` as measured."""

    __tablename__ = "devices"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    facts: Mapped[str] = mapped_column(Text, default="{}")
    limits: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[str] = mapped_column(Text)


class ToolchainRow(Base):
    """A compiler with its version and flags; name and version are empty where only its digest is known."""

    __tablename__ = "toolchains"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[str] = mapped_column(Text, default="")
    flags: Mapped[str] = mapped_column(Text, default="[]")


class KernelRow(Base):
    """A kernel at one state of its source: an edited kernel is another row."""

    __tablename__ = "kernels"
    __table_args__ = (UniqueConstraint("name", "digest", name="uq_kernels_name_digest"),)
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)
    operator: Mapped[str] = mapped_column(Text)


class SweepRow(Base):
    """One run of a searcher over one kernel, workload, device and protocol."""

    __tablename__ = "sweeps"
    __table_args__ = (
        CheckConstraint(_among("status", SWEEP_STATUSES), name="ck_sweeps_status"),
        CheckConstraint("cache IN ('cold', 'model', 'warm') AND threads >= 1", name="ck_sweeps_protocol"),
        CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_sweeps_finished_at"),
        # `best` reads its groups from this index, without a look at the trials.
        Index("ix_sweeps_group", "workload_id", "device_id", "kernel_id", "threads", "cache"),
    )
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"))
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    kernel_id: Mapped[int] = mapped_column(ForeignKey("kernels.id"))
    target: Mapped[str] = mapped_column(Text)
    searcher: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(Integer)
    protocol: Mapped[str] = mapped_column(Text)  # JSON object: all of the protocol
    protocol_digest: Mapped[str] = mapped_column(Text)  # of what moves a measured value
    threads: Mapped[int] = mapped_column(Integer)
    cache: Mapped[str] = mapped_column(Text)
    budget: Mapped[str] = mapped_column(Text, default="{}")
    status: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text, default="")  # the process that runs it: see owner.py
    started_at: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text, default="")
    summary: Mapped[str] = mapped_column(Text, default="{}")


class TrialRow(Base):
    """One configuration built and measured once. Append-only: triggers refuse changes."""

    __tablename__ = "trials"
    __table_args__ = (
        CheckConstraint(_among("status", Status), name="ck_trials_status"),
        CheckConstraint(_among("evidence", Evidence), name="ck_trials_evidence"),
        # A time where, and only where, there can be one: a failure stored as a time of 1e10 is refused.
        CheckConstraint(
            f"(time_s IS NOT NULL) = ({_among('status', TIMED_STATUSES)} "
            f"AND {_among('evidence', TIMED_EVIDENCE)})",
            name="ck_trials_timed",
        ),
        CheckConstraint("(time_s IS NOT NULL) = (samples <> '[]')", name="ck_trials_samples"),
        CheckConstraint(_all_or_none("time_s", "median_s", "low_s", "high_s"), name="ck_trials_times"),
        # 1e9 s is 31 years: also refuses infinity, whichever way a database spells it.
        CheckConstraint(
            "time_s IS NULL OR (time_s < 1e9 AND high_s < 1e9 AND low_s <= median_s AND median_s <= high_s)",
            name="ck_trials_interval",
        ),
        CheckConstraint(_all_or_none("reference_s", "before_s", "after_s"), name="ck_trials_calibration"),
        CheckConstraint(
            "(status <> 'ok' OR error = '') AND (status IN ('ok', 'pruned') OR error <> '')",
            name="ck_trials_error",
        ),
        # A share of the tolerance: what is right deviates by at most 1.
        CheckConstraint(
            f"max_error IS NULL OR max_error <= 1 OR NOT ({_among('status', TIMED_STATUSES)})",
            name="ck_trials_max_error",
        ),
        CheckConstraint("cache IN ('cold', 'model', 'warm') AND threads >= 1", name="ck_trials_protocol"),
        # `best` seeks here, one probe a group; partial, so failures do not weigh on it.
        Index(
            "ix_trials_best",
            "workload_id", "device_id", "kernel_id", "threads", "cache", "evidence", "time_s",
            # The migration says the same for PostgreSQL; here that would import its dialect: 30 ms at start.
            sqlite_where=text("status = 'ok'"),
        ),
        # What a sweep measured is counted, and its fastest found, in this index alone.
        Index("ix_trials_sweep_outcome", "sweep_id", "evidence", "status", "time_s"),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    identity: Mapped[str] = mapped_column(Text, index=True)  # digest of the TrialKey; may recur
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"))
    kernel_id: Mapped[int] = mapped_column(ForeignKey("kernels.id"), index=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    toolchain_id: Mapped[int] = mapped_column(ForeignKey("toolchains.id"))
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id"))  # the one that measured it
    config: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    protocol_digest: Mapped[str] = mapped_column(Text)
    threads: Mapped[int] = mapped_column(Integer)
    cache: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    time_s: Mapped[float | None] = mapped_column(Double)  # drift divided out: what trials are ranked by
    median_s: Mapped[float | None] = mapped_column(Double)  # of the raw samples, with its 95% interval
    low_s: Mapped[float | None] = mapped_column(Double)
    high_s: Mapped[float | None] = mapped_column(Double)
    samples: Mapped[str] = mapped_column(Text, default="[]")
    reference_s: Mapped[float | None] = mapped_column(Double)  # calibration kernel at the sweep's start,
    before_s: Mapped[float | None] = mapped_column(Double)  # just before the samples,
    after_s: Mapped[float | None] = mapped_column(Double)  # and just after
    error: Mapped[str] = mapped_column(Text, default="")
    build_s: Mapped[float] = mapped_column(Double, default=0.0)
    run_s: Mapped[float] = mapped_column(Double, default=0.0)
    max_error: Mapped[float | None] = mapped_column(Double)
    metrics: Mapped[str] = mapped_column(Text, default="{}")
    artifact: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text, server_default="")  # where it ran; empty where nobody noted it


class SweepTrialRow(Base):
    """Every proposal of a sweep in order, also those served from an earlier trial of the same identity."""

    __tablename__ = "sweep_trials"
    __table_args__ = (
        CheckConstraint("number >= 0", name="ck_sweep_trials_number"),
        # The few proposals of a sweep that it did not measure itself.
        Index("ix_sweep_trials_reused", "sweep_id", "trial_id", sqlite_where=text("reused = 1")),
    )
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), index=True)
    reused: Mapped[int] = mapped_column(Integer, default=0)


class ForgottenTrialRow(Base):
    """A mark on a trial: what failed was the machine. It reads as status `environment` from then on."""

    __tablename__ = "forgotten_trials"
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(Text)


class ClaimRow(Base):
    """An identity that a sweep is about to measure: other sweeps wait for its outcome."""

    __tablename__ = "claims"
    identity: Mapped[str] = mapped_column(Text, primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id"))
    owner: Mapped[str] = mapped_column(Text)  # the process: see owner.py
    expires_at: Mapped[str] = mapped_column(
        Text
    )  # for owners on other hosts, of whom nobody knows if they live


class OwnerRow(Base):
    """A process that runs sweeps, and its last sign of life: other hosts cannot look whether it lives."""

    __tablename__ = "owners"
    owner: Mapped[str] = mapped_column(Text, primary_key=True)  # as in sweeps.owner
    seen_at: Mapped[str] = mapped_column(Text)


class FinalRow(Base):
    """An interleaved re-measurement of finalists and baselines at the end of a search."""

    __tablename__ = "finals"
    __table_args__ = (
        CheckConstraint("cache IN ('cold', 'model', 'warm') AND threads >= 1", name="ck_finals_protocol"),
    )
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sweep_id: Mapped[int | None] = mapped_column(ForeignKey("sweeps.id"), index=True)
    workload_id: Mapped[int] = mapped_column(ForeignKey("workloads.id"), index=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    baseline_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"))  # what speed-ups are over
    protocol: Mapped[str] = mapped_column(Text)
    protocol_digest: Mapped[str] = mapped_column(Text)
    threads: Mapped[int] = mapped_column(Integer)
    cache: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(Text)
    disturbed: Mapped[str] = mapped_column(Text, server_default="")  # why it declares nothing, or nothing


class FinalEntryRow(Base):
    """One finalist or baseline of a final, timed in several processes in turn."""

    __tablename__ = "final_entries"
    __table_args__ = (
        CheckConstraint(_among("role", ROLES), name="ck_final_entries_role"),
        CheckConstraint(
            "low_s > 0 AND low_s <= median_s AND median_s <= high_s AND high_s < 1e9",
            name="ck_final_entries_interval",
        ),
        CheckConstraint(
            _all_or_none("speedup", "speedup_low", "speedup_high"), name="ck_final_entries_speedup"
        ),
        CheckConstraint("winner + tie <= 1", name="ck_final_entries_outcome"),
        Index("ix_final_entries_trial", "trial_id", "final_id", "beaten"),
    )
    final_id: Mapped[int] = mapped_column(ForeignKey("finals.id"), primary_key=True, autoincrement=False)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(Text)
    median_s: Mapped[float] = mapped_column(Double)
    low_s: Mapped[float] = mapped_column(Double)
    high_s: Mapped[float] = mapped_column(Double)
    samples: Mapped[str] = mapped_column(Text)
    processes: Mapped[str] = mapped_column(Text, server_default="[]")  # samples of each; [] for one process
    speedup: Mapped[float | None] = mapped_column(Double)  # baseline's time over this one's
    speedup_low: Mapped[float | None] = mapped_column(Double)
    speedup_high: Mapped[float | None] = mapped_column(Double)
    winner: Mapped[int] = mapped_column(Integer, default=0)
    tie: Mapped[int] = mapped_column(Integer, default=0)  # shares the first place, not told apart
    beaten: Mapped[int] = mapped_column(Integer, default=0)  # another entry of its kernel was faster
