"""Trials as tables for people's own tools: JSON, CSV and Parquet, one row a trial."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.core.errors import MissingExtra, UnknownName
from tuner.core.output_file import put
from tuner.core.trial import Trial

TABLES = ("json", "csv", "parquet")


def rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """One plain record a trial; times in seconds, `config` and `metrics` as objects."""
    return [
        {
            "id": t.id,
            "workload": t.key.workload.key,
            "kernel": t.key.kernel,
            "kernel_digest": t.key.kernel_digest,
            "target": t.key.target,
            "toolchain": t.key.toolchain,
            "device": t.key.device,
            "protocol": t.key.protocol,
            "status": str(t.measurement.status),
            "evidence": str(t.measurement.evidence),
            "time_s": t.measurement.time_s,
            "samples_s": list(t.measurement.samples),
            "build_s": t.measurement.build_s,
            "run_s": t.measurement.run_s,
            "error": t.measurement.error,
            "created_at": t.created_at.isoformat(),
            "config": dict(t.key.config),
            "metrics": dict(t.measurement.metrics),
        }
        for t in trials
    ]


def write_table(trials: Sequence[Trial], path: Path, format: str) -> None:
    """Writes `json` (a list of records), `csv` or `parquet` (a column a parameter: `config.NAME`).

    Raises:
        UnknownName: there is no such format.
        MissingExtra: Parquet needs pyarrow.
        TunerError: the file cannot be written, or a database is at its place.
    """
    if format not in TABLES:
        raise UnknownName("format", format, list(TABLES))
    if format == "json":
        put(path, json.dumps(rows(trials), allow_nan=False, indent=1))
    else:
        put(path, (_csv if format == "csv" else _parquet)(rows(trials)))


def _flat(records: Sequence[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Column names, and records with a column a parameter and a metric."""
    flat = []
    for record in records:
        row = {k: v for k, v in record.items() if k not in ("config", "metrics")}
        for group in ("config", "metrics"):
            row |= {f"{group}.{k}": v for k, v in record[group].items()}
        flat.append(row)
    return list(dict.fromkeys(name for row in flat for name in row)), flat


def _csv(records: Sequence[dict[str, Any]]) -> bytes:
    names, flat = _flat(records)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for row in flat:
        samples = " ".join(map(repr, row["samples_s"]))
        writer.writerow({k: _cell(v) for k, v in row.items()} | {"samples_s": samples})
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    # A spreadsheet runs a cell that begins with one of these as a formula; an error text may hold anything.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _parquet(records: Sequence[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("writing Parquet", "parquet") from None
    names, flat = _flat(records)
    columns = {}
    for name in names:
        values = [row.get(name) for row in flat]
        kinds = {type(v) for v in values if v is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:  # one column, one type
            values = [None if v is None else str(v) for v in values]
        columns[name] = values
    table = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), table)
    return table.getvalue()
