"""The tables, a class each, its attributes the columns. Plain names, plain text, readable by any SQL tool.

Times are seconds, timestamps UTC in ISO 8601 text of fixed width (so that text order is time order),
lists and mappings JSON text. Check constraints refuse rows that contradict themselves, whoever writes.
"""

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

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


def required(*arguments: Any, **options: Any) -> "Column[Any]":
    """A column that is never NULL, with the arguments of SQLAlchemy's `Column`."""
    return Column(*arguments, nullable=False, **options)


def optional(*arguments: Any, **options: Any) -> "Column[Any]":
    """A column that may be NULL, with the arguments of SQLAlchemy's `Column`."""
    return Column(*arguments, nullable=True, **options)


class Base:
    """Holds the metadata of all tables; a class with a `__tablename__` is a table, as in SQLAlchemy's ORM.

    The ORM itself would do no more here, where rows are read and written by statements, and every command
    that opens a database would wait for it to be loaded: 80 ms.
    """

    metadata = MetaData()
    __tablename__: str
    __table_args__: tuple[SchemaItem, ...] = ()
    __table__: Table

    def __init_subclass__(cls) -> None:
        columns = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        for name, column in columns.items():
            column.name = column.key = name
        cls.__table__ = Table(cls.__tablename__, cls.metadata, *columns.values(), *cls.__table_args__)


class WorkloadRow(Base):
    """One operator at one dtype and shape."""

    __tablename__ = "workloads"
    id = required(Integer, primary_key=True)
    key = required(Text, unique=True)
    operator = required(Text, index=True)
    dtype = required(Text)
    dims = required(Text, default="{}")  # JSON object in the operator's order
    options = required(Text, default="{}")  # JSON object, non-default values only


class DeviceRow(Base):
    """A piece of hardware; `facts` as its driver tells them, `limits` as measured."""

    __tablename__ = "devices"
    id = required(Integer, primary_key=True)
    fingerprint = required(Text, unique=True)
    name = required(Text)
    kind = required(Text)
    target = required(Text)
    facts = required(Text, default="{}")
    limits = required(Text, default="{}")
    created_at = required(Text)


class ToolchainRow(Base):
    """A compiler with its version and flags; name and version are empty where only its digest is known."""

    __tablename__ = "toolchains"
    id = required(Integer, primary_key=True)
    digest = required(Text, unique=True)
    name = required(Text, default="")
    version = required(Text, default="")
    flags = required(Text, default="[]")


class KernelRow(Base):
    """A kernel at one state of its source: an edited kernel is another row."""

    __tablename__ = "kernels"
    __table_args__ = (UniqueConstraint("name", "digest", name="uq_kernels_name_digest"),)
    id = required(Integer, primary_key=True)
    name = required(Text)
    digest = required(Text)
    language = required(Text)
    operator = required(Text)


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
    id = required(Integer, primary_key=True)
    workload_id = required(ForeignKey("workloads.id"))
    device_id = required(ForeignKey("devices.id"))
    kernel_id = required(ForeignKey("kernels.id"))
    target = required(Text)
    searcher = required(Text)
    seed = required(Integer)
    protocol = required(Text)  # JSON object: all of the protocol
    protocol_digest = required(Text)  # of what moves a measured value
    threads = required(Integer)
    cache = required(Text)
    budget = required(Text, default="{}")
    status = required(Text)
    owner = required(Text, default="")  # the process that runs it: see owner.py
    started_at = required(Text)
    finished_at = optional(Text)
    note = required(Text, default="")
    summary = required(Text, default="{}")


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
    id = required(Integer, primary_key=True)
    identity = required(Text, index=True)  # digest of the TrialKey; may recur
    workload_id = required(ForeignKey("workloads.id"))
    kernel_id = required(ForeignKey("kernels.id"), index=True)
    device_id = required(ForeignKey("devices.id"))
    toolchain_id = required(ForeignKey("toolchains.id"))
    sweep_id = required(ForeignKey("sweeps.id"))  # the one that measured it
    config = required(Text)
    target = required(Text)
    protocol_digest = required(Text)
    threads = required(Integer)
    cache = required(Text)
    status = required(Text)
    evidence = required(Text)
    time_s = optional(Double)  # drift divided out: what trials are ranked by
    median_s = optional(Double)  # of the raw samples, with its 95% interval
    low_s = optional(Double)
    high_s = optional(Double)
    samples = required(Text, default="[]")
    reference_s = optional(Double)  # calibration kernel at the sweep's start,
    before_s = optional(Double)  # just before the samples,
    after_s = optional(Double)  # and just after
    error = required(Text, default="")
    build_s = required(Double, default=0.0)
    run_s = required(Double, default=0.0)
    max_error = optional(Double)
    metrics = required(Text, default="{}")
    artifact = required(Text, default="")
    created_at = required(Text)
    host = required(Text, server_default="")  # where it ran; empty where nobody noted it


class SweepTrialRow(Base):
    """Every proposal of a sweep in order, also those served from an earlier trial of the same identity."""

    __tablename__ = "sweep_trials"
    __table_args__ = (
        CheckConstraint("number >= 0", name="ck_sweep_trials_number"),
        # The few proposals of a sweep that it did not measure itself.
        Index("ix_sweep_trials_reused", "sweep_id", "trial_id", sqlite_where=text("reused = 1")),
    )
    sweep_id = required(ForeignKey("sweeps.id"), primary_key=True, autoincrement=False)
    number = required(Integer, primary_key=True, autoincrement=False)
    trial_id = required(ForeignKey("trials.id"), index=True)
    reused = required(Integer, default=0)


class ForgottenTrialRow(Base):
    """A mark on a trial: what failed was the machine. It reads as status `environment` from then on."""

    __tablename__ = "forgotten_trials"
    trial_id = required(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    reason = required(Text)
    created_at = required(Text)


class ClaimRow(Base):
    """An identity that a sweep is about to measure: other sweeps wait for its outcome."""

    __tablename__ = "claims"
    identity = required(Text, primary_key=True)
    sweep_id = required(ForeignKey("sweeps.id"))
    owner = required(Text)  # the process: see owner.py
    expires_at = required(Text)  # for owners on other hosts, of whom nobody knows if they live


class OwnerRow(Base):
    """A process that runs sweeps, and its last sign of life: other hosts cannot look whether it lives."""

    __tablename__ = "owners"
    owner = required(Text, primary_key=True)  # as in sweeps.owner
    seen_at = required(Text)


class FinalRow(Base):
    """An interleaved re-measurement of finalists and baselines at the end of a search."""

    __tablename__ = "finals"
    __table_args__ = (
        CheckConstraint("cache IN ('cold', 'model', 'warm') AND threads >= 1", name="ck_finals_protocol"),
    )
    id = required(Integer, primary_key=True)
    sweep_id = optional(ForeignKey("sweeps.id"), index=True)
    workload_id = required(ForeignKey("workloads.id"), index=True)
    device_id = required(ForeignKey("devices.id"))
    baseline_id = optional(ForeignKey("trials.id"))  # what speed-ups are over
    protocol = required(Text)
    protocol_digest = required(Text)
    threads = required(Integer)
    cache = required(Text)
    created_at = required(Text)
    disturbed = required(Text, server_default="")  # why it declares nothing, or nothing


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
    final_id = required(ForeignKey("finals.id"), primary_key=True, autoincrement=False)
    trial_id = required(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    role = required(Text)
    median_s = required(Double)
    low_s = required(Double)
    high_s = required(Double)
    samples = required(Text)
    processes = required(Text, server_default="[]")  # samples of each; [] for one process
    speedup = optional(Double)  # baseline's time over this one's
    speedup_low = optional(Double)
    speedup_high = optional(Double)
    winner = required(Integer, default=0)
    tie = required(Integer, default=0)  # shares the first place, not told apart
    beaten = required(Integer, default=0)  # another entry of its kernel was faster
