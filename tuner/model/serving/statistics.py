"""What a model's requests and batches took: Triton's statistics, and metrics for Prometheus."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Upper bounds of the latency histogram's buckets, seconds.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Execution:
    """One batch.

    Attributes:
        rows: of its requests.
        prepared: rows of the executor that ran it; 0 where the model has no batch.
        gather_s, infer_s, scatter_s: to put inputs together, to run, to copy each request's outputs.
    """

    rows: int
    prepared: int
    gather_s: float
    infer_s: float
    scatter_s: float


class _Sum:
    """How often, and seconds of all together."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        self.count += count
        self.seconds += seconds

    def plain(self) -> dict[str, int]:
        return {"count": self.count, "ns": int(self.seconds * 1e9)}


class Statistics:
    """Counts of one model; any thread may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = {
            name: _Sum()
            for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        }
        self._batches: dict[int, dict[str, _Sum]] = {}
        self._rows = self._executions = self._padding = self._last_ms = 0
        self._refused: dict[str, int] = {}
        self._buckets = [0] * (len(BOUNDS_S) + 1)

    def executed(self, done: Execution, requests: Sequence[tuple[float, float]]) -> None:
        """A batch has run.

        Args:
            done: what it took.
            requests: seconds that each waited, and from its arrival to its answer.
        """
        with self._lock:
            self._rows += done.rows
            self._executions += 1
            self._padding += max(0, done.prepared - done.rows)
            self._last_ms = int(time.time() * 1e3)
            parts = {"compute_input": done.gather_s, "compute_infer": done.infer_s,
                     "compute_output": done.scatter_s}  # fmt: skip
            batch = self._batches.setdefault(done.rows, {name: _Sum() for name in parts})
            for name, seconds in parts.items():
                batch[name].add(seconds)
                # A request waits for all of its batch.
                self._sums[name].add(seconds * len(requests), len(requests))
            for waited, whole in requests:
                self._sums["queue"].add(waited)
                self._sums["success"].add(whole)
                self._buckets[bisect_left(BOUNDS_S, whole)] += 1

    def failed(self, seconds: float) -> None:
        """A request was run and failed."""
        with self._lock:
            self._sums["fail"].add(seconds)

    def refused(self, why: str) -> None:
        """A request was not run: `queue` (429), `timeout`, `draining`, `invalid`, `gone` (the client is)."""
        with self._lock:
            self._refused[why] = self._refused.get(why, 0) + 1

    def plain(self, name: str, version: str) -> dict[str, Any]:
        """As Triton's statistics extension has it; times are nanoseconds, measured."""
        with self._lock:
            zero = {"count": 0, "ns": 0}
            return {
                "name": name,
                "version": version,
                "last_inference": self._last_ms,
                "inference_count": self._rows,
                "execution_count": self._executions,
                "inference_stats": {
                    **{part: total.plain() for part, total in self._sums.items()},
                    "cache_hit": zero,
                    "cache_miss": zero,
                },
                "batch_stats": [
                    {"batch_size": rows, **{part: total.plain() for part, total in parts.items()}}
                    for rows, parts in sorted(self._batches.items())
                ],
                "response_stats": {},
            }

    def samples(self, labels: str, waiting: int) -> Iterator[tuple[str, str, float]]:
        """(metric, labels, value) for Prometheus; those that Triton has bear its names."""
        with self._lock:
            sums = self._sums
            yield "nv_inference_request_success", labels, sums["success"].count
            yield "nv_inference_request_failure", labels, sums["fail"].count
            yield "nv_inference_count", labels, self._rows
            yield "nv_inference_exec_count", labels, self._executions
            for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
                metric = "request" if part == "success" else part
                yield f"nv_inference_{metric}_duration_us", labels, int(sums[part].seconds * 1e6)
            yield "nv_inference_pending_request_count", labels, waiting
            yield "tuner_model_padded_rows_total", labels, self._padding
            for why, count in sorted(self._refused.items()):
                yield "tuner_model_refused_total", f'{labels},reason="{why}"', count
            total = 0
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._buckets, strict=True):
                total += count
                yield "tuner_model_request_seconds_bucket", f'{labels},le="{bound}"', total
            yield "tuner_model_request_seconds_sum", labels, sums["success"].seconds
            yield "tuner_model_request_seconds_count", labels, total


_HELP: Mapping[str, tuple[str, str]] = {
    "nv_inference_request_success": ("counter", "Requests that were answered"),
    "nv_inference_request_failure": ("counter", "Requests that the model failed on"),
    "nv_inference_count": ("counter", "Rows that were inferred, without padding"),
    "nv_inference_exec_count": ("counter", "Batches that were run"),
    "nv_inference_request_duration_us": ("counter", "Microseconds from arrival to answer, of all requests"),
    "nv_inference_queue_duration_us": ("counter", "Microseconds that requests waited"),
    "nv_inference_compute_input_duration_us": ("counter", "Microseconds that batches were put together"),
    "nv_inference_compute_infer_duration_us": ("counter", "Microseconds that the model ran"),
    "nv_inference_compute_output_duration_us": ("counter", "Microseconds that outputs were copied"),
    "nv_inference_pending_request_count": ("gauge", "Requests that wait"),
    "tuner_model_padded_rows_total": ("counter", "Rows that batches were padded with"),
    "tuner_model_refused_total": ("counter", "Requests that were not run, by reason"),
    "tuner_model_request_seconds": ("histogram", "Seconds from arrival to answer"),
}


def exposition(models: Mapping[str, tuple[str, Statistics, int]]) -> str:
    """Prometheus' text format, version 0.0.4.

    Args:
        models: version, statistics and how many requests wait, by name.
    """
    found: dict[str, list[str]] = {name: [] for name in _HELP}
    for name, (version, statistics, waiting) in models.items():
        for metric, labels, value in statistics.samples(f'model="{name}",version="{version}"', waiting):
            family = metric if metric in found else metric.rpartition("_")[0]
            found[family].append(f"{metric}{{{labels}}} {value:.17g}")
    lines = []
    for family, samples in found.items():
        kind, text = _HELP[family]
        lines += [f"# HELP {family} {text}", f"# TYPE {family} {kind}", *samples]
    return "\n".join(lines) + "\n"
