"""Which rows are asked for: conditions on the columns of joined tables, from plain values."""

from sqlalchemy import ColumnElement

from tuner.store import writes


def conditions(
    operator: str | None = None,
    workload_key: str | None = None,
    device: str | None = None,
    kernel: str | None = None,
    threads: int | None = None,
    cache: str | None = None,
) -> list[ColumnElement[bool]]:
    """One condition for each value that is given; `device` is a fingerprint."""
    wanted = [
        (writes.WORKLOADS.c.operator, operator),
        (writes.WORKLOADS.c.key, workload_key),
        (writes.DEVICES.c.fingerprint, device),
        (writes.KERNELS.c.name, kernel),
        (writes.SWEEPS.c.threads, threads),
        (writes.SWEEPS.c.cache, cache),
    ]
    return [column == value for column, value in wanted if value is not None]
