"""Between the dataclasses of `tuner.core` and the columns of the tables, without loss."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tuner.core.measurement import Calibration, Evidence, Measurement, Status
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.store.checked import moment as from_stamp
from tuner.store.checked import real, scalars, sizes, times, words

__all__ = [
    "chunks", "clean", "finite_json", "from_finite_json", "from_stamp", "measurement_columns",
    "measurement_of",
    "plain", "to_json", "to_stamp", "trial_of", "workload_columns", "workload_of",
]  # fmt: skip

# A template-heavy compiler error can be megabytes; both ends of it are kept.
MAX_ERROR = 64_000

# SQLite takes 32,766 variables a statement, others fewer.
CHUNK = 500


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Slices short enough for one statement."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def to_json(value: Any) -> str:
    """Compact JSON in the order given (the order of dimensions means something).

    Raises:
        ValueError: a number is not finite: JSON has none such, and SQL tools refuse the text.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=plain)


def plain(value: Any) -> Any:
    """The plain Python value of a NumPy scalar or array, a set, or anything with a text form."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def finite_json(values: Mapping[str, Any]) -> str:
    """JSON of a mapping that may hold infinities or NaN, which become the texts `inf`, `-inf`, `nan`."""
    return to_json(
        {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    )


def from_finite_json(text: str) -> dict[str, float]:
    """The inverse of `finite_json` for numbers."""
    return {k: float(v) if isinstance(v, str) else v for k, v in scalars(text).items()}


def to_stamp(moment: datetime) -> str:
    """UTC, `2026-11-22T10:07:53.000000Z`: of fixed width, so that text order is time order.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a timestamp needs a time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def clean(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogates, the middle of a huge one left out."""
    text = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    if len(text) <= MAX_ERROR:
        return text
    half = MAX_ERROR // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def workload_columns(workload: Workload) -> dict[str, Any]:
    """The columns of `workloads`."""
    return {
        "key": workload.key,
        "operator": workload.operator,
        "dtype": workload.dtype,
        "dims": to_json(dict(workload.dims)),
        "options": to_json(dict(workload.options)),
    }


def workload_of(row: Any) -> Workload:
    """The workload of a row with the columns of `workloads`; types of options are kept (1 is not 1.0)."""
    dims, options = sizes(row.dims), scalars(row.options)
    return Workload(words(row.operator), words(row.dtype), tuple(dims.items()), tuple(options.items()))


def measurement_columns(measurement: Measurement) -> dict[str, Any]:
    """The columns of `trials` that a measurement fills."""
    interval, calibration = measurement.interval, measurement.calibration
    worst = measurement.max_error
    return {
        "status": str(measurement.status),
        "evidence": str(measurement.evidence),
        "time_s": measurement.time_s,
        "median_s": interval.mid if interval else None,
        "low_s": interval.low if interval else None,
        "high_s": interval.high if interval else None,
        "samples": to_json([float(s) for s in measurement.samples]),
        "reference_s": calibration.reference_s if calibration else None,
        "before_s": calibration.before_s if calibration else None,
        "after_s": calibration.after_s if calibration else None,
        "error": clean(measurement.error),
        "build_s": float(measurement.build_s),
        "run_s": float(measurement.run_s),
        # SQLite turns a NaN into NULL, which would read as "not checked"; a NaN error is an infinite one.
        "max_error": math.inf if worst is not None and math.isnan(worst) else worst,
        "metrics": finite_json(measurement.metrics),
        "artifact": measurement.artifact,
    }


def measurement_of(row: Any) -> Measurement:
    """The measurement of a row with the columns of `trials`; a row that is `forgotten` was the machine's."""
    calibration = None
    if row.reference_s is not None:
        calibration = Calibration(real(row.reference_s), real(row.before_s), real(row.after_s))
    return Measurement(
        status=Status.ENVIRONMENT if row.forgotten else Status(row.status),
        evidence=Evidence(row.evidence),
        samples=times(row.samples),
        error=words(row.error),
        calibration=calibration,
        build_s=real(row.build_s),
        run_s=real(row.run_s),
        # A NaN is stored as an infinity.
        max_error=row.max_error if row.max_error in (None, math.inf) else real(row.max_error),
        metrics=from_finite_json(row.metrics),
        artifact=words(row.artifact),
    )


def trial_of(row: Any, workload: Workload) -> Trial:
    """The trial of a joined row: `trials` with kernel name and digest, toolchain digest, fingerprint."""
    key = TrialKey(
        workload=workload,
        kernel=words(row.kernel_name),
        kernel_digest=words(row.kernel_digest),
        config=scalars(row.config),
        target=words(row.target),
        toolchain=words(row.toolchain_digest),
        device=words(row.fingerprint),
        protocol=words(row.protocol_digest),
    )
    return Trial(key, measurement_of(row), row.id, from_stamp(row.created_at), words(row.host))
