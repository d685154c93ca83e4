"""A model tuned: each distinct layer once, with a budget by its share of the time, and what that comes to."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.digest import digest
from tuner.core.kernel import FROZEN
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.workload import Workload
from tuner.engine.tuning.allotment import Allotment
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.campaign_outcome import CampaignOutcome
from tuner.engine.tuning.series import SeriesLayer, run_series
from tuner.engine.tuning.setting import Setting
from tuner.model.graph import Graph
from tuner.model.layers import Layers, find_layers
from tuner.model.profile import Profile, profile
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs
from tuner.model.split import Share, shares, split_trials, weights

if TYPE_CHECKING:
    from tuner.store.campaign_records import StoredCampaign
    from tuner.store.store import Store


_TRIALS = 24
# Of the time that is asked for, what is kept for the last layer's overrun and the projection.
_RESERVE = 0.03


@dataclass(frozen=True)
class TuningAsked:
    """Which model, at which sizes, and how long.

    Attributes:
        path: of the model.
        dims: sizes of symbolic dimensions.
        batch: first dimension of every input; `None`: as the file says.
        trials: of each kernel, the mean over the layers that matter; `None`: 24, or twice that where the time
            is bounded.
        seconds: for all of it, from `began` on: profile, sweeps, finals and peaks; `None` for no bound.
        inputs: `.npz` file of inputs for the profile.
        cache: what a layer finds in the caches while it is tuned, see `Protocol`.
    """

    path: Path
    dims: Mapping[str, int]
    batch: int | None = None
    trials: int | None = None
    seconds: float | None = None
    inputs: Path | None = None
    cache: str = "model"

    @property
    def mean_trials(self) -> int:
        """Of each kernel."""
        return self.trials or (_TRIALS if self.seconds is None else 2 * _TRIALS)

    def as_plain(self, model_digest: str) -> dict[str, Any]:
        """What makes two runs the same question."""
        return {
            "model": self.path.name, "model_digest": model_digest, "dims": dict(self.dims),
            "batch": self.batch, "trials": self.mean_trials, "seconds": self.seconds, "weights": FROZEN,
            "cache": self.cache,
        }  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A model that is about to be tuned.

    Attributes:
        graph, found: what was read.
        profile: ONNX Runtime's times.
        shares: of its workloads, largest first.
        split: trials of each kernel, by workload.
        again: there is an unfinished campaign of the same question, whose split this is.
    """

    graph: Graph
    found: Layers
    profile: Profile
    shares: Sequence[Share]
    split: Mapping[Workload, int]
    again: bool = False


def prepare(asked: TuningAsked, setting: Setting) -> Prepared:
    """Reads the model, lets ONNX Runtime profile it and splits the budget.

    A run that was interrupted is gone on with: the split is the one it began with, as times vary.

    Raises:
        ModelError: the model cannot be read or run.
        MissingExtra: `onnx` or `onnxruntime` is not installed.
    """
    model = prepared(asked.path, asked.dims, asked.batch, weights=True)
    graph = graph_of(model, asked.path, asked.dims)
    threads = setting.protocol.threads
    found = find_layers(graph, setting.device.target_for(threads))
    inputs = random_inputs(graph, 0, asked.inputs, asked.batch)
    taken = profile(model, graph, found, inputs, setting.device, threads)
    pairs = [(layer.workload, s) for layer, s in zip(found.layers, taken.layers, strict=True)]
    told = shares(pairs, taken.rest_s)
    before = _unfinished(asked, setting)
    split = split_trials(told, asked.mean_trials) if before is None else before
    return Prepared(graph, found, taken, told, split, before is not None)


def _unfinished(asked: TuningAsked, setting: Setting) -> dict[Workload, int] | None:
    question = asked.as_plain(file_digest(asked.path))
    for campaign in reversed(setting.store.campaigns()):
        known = campaign.spec.asked.get("of_model")
        if not isinstance(known, dict) or campaign.state not in ("interrupted", "unfinished"):
            continue
        if {name: known.get(name) for name in question} == question and isinstance(known.get("split"), dict):
            return {Workload.from_key(key): int(trials) for key, trials in known["split"].items()}
    return None


def file_digest(path: Path) -> str:
    """Of a file's bytes; data beside it is not read."""
    import hashlib

    with path.open("rb") as file:
        return digest(hashlib.file_digest(file, "sha256").hexdigest())


_STEP = 32 * 2**20
_MOST = 256 * 2**20
_SAMPLES_S = 0.15


def passing_bytes(found: Layers) -> int:
    """Bytes of the model's frozen weights, which pass through the caches between two calls of a layer.

    In steps of 32 MiB, so that models of about one size share their layers' trials, and 256 MiB at most: more
    than that evicts no more, and each sample waits for it.
    """
    total = 0
    for layer in found.layers:
        if layer.workload.option(FROZEN, False):
            operator = registry.operator(layer.workload.operator)
            signature = operator.signature(layer.workload)
            total += sum(spec.nbytes for spec in signature if spec.name in operator.weights)
    return min(_MOST, round(total / _STEP) * _STEP)


def as_in_the_model(protocol: Protocol, cache: str, found: Layers) -> Protocol:
    """The protocol for a model's layers.

    Raises:
        TunerError: there is no such state of the caches.
    """
    if cache != "model":
        return replace(protocol, cache=cache)
    # A sample waits for all that passes, so there are fewer; the final has many processes of each finalist.
    budget_s = min(protocol.budget_s, _SAMPLES_S)
    return replace(protocol, cache=cache, between_bytes=passing_bytes(found), budget_s=budget_s)


def tune_model(
    asked: TuningAsked, ready: Prepared, setting: Setting, kernels: Sequence[str] = (),
    baselines: bool = True, command: str = "", began: float | None = None,
) -> dict[Workload, CampaignOutcome]:  # fmt: skip
    """Tunes the layers that matter, one series, and returns their outcomes; none matters: no outcome.

    Args:
        asked, ready: the model.
        setting: on what and how; the plan's budget is replaced layer by layer.
        kernels: names; none means all that can serve.
        baselines: whether libraries take part.
        command: what makes it again, for the record.
        began: when the seconds asked for began, by `time.monotonic`; by default now.

    Raises:
        TunerError: as `run_series`.
    """
    if not ready.split:
        return {}
    counts = ready.found.counts
    layers = [SeriesLayer(w, asked.path.stem[:80], counts.get(w, 1)) for w in ready.split]
    question = asked.as_plain(file_digest(asked.path))
    split = {workload.key: trials for workload, trials in ready.split.items()}
    plan = replace(setting.plan, resume=True, reuse=True, winner_only=True)
    protocol = as_in_the_model(setting.protocol, asked.cache, ready.found)
    allotment = None
    if asked.seconds is not None:
        until = (began or time.monotonic()) + (1 - _RESERVE) * asked.seconds
        best = stored_best(ready, setting.store, setting.device.fingerprint, protocol)
        allotment = Allotment(until, weights(ready.shares, ready.split, best))
    return run_series(
        layers, replace(setting, plan=plan, protocol=protocol), kernels, baselines,
        {workload: Budget(trials) for workload, trials in ready.split.items()}, allotment,
        title=f"{asked.path.name}: tuned kernels against the fastest library", kind="network",
        command=command, asked={"of_model": {**question, "split": split}},
    )  # fmt: skip


def stored_best(
    ready: Prepared, store: "Store", fingerprint: str, protocol: Protocol
) -> dict[Workload, float]:
    """Seconds of one call of the best stored kernel of each workload, with caches as here."""
    found: dict[Workload, float] = {}
    for operator in sorted({workload.operator for workload in ready.split}):
        rows = store.best(operator, None, fingerprint, threads=protocol.threads, cache=protocol.cache)
        for row in rows:
            found[row.workload] = min(row.shown_s, found.get(row.workload, math.inf))
    return found


@dataclass(frozen=True)
class ProjectedLayer:
    """One workload of a model and what tuning it comes to.

    Attributes:
        share: what it is worth.
        tuned: seconds of one call of the best tuned kernel in its final; `None` where it was not tuned.
        kernel: that one's name.
        library: name and seconds of the fastest library in the same final; `None` where none was there.
    """

    share: Share
    tuned: Interval | None = None
    kernel: str = ""
    library: tuple[str, float] | None = None

    @property
    def used_s(self) -> float:
        """Seconds of a run that the model's projection takes for it."""
        return self.share.time_s if self.tuned is None else self.share.count * self.tuned.mid


@dataclass(frozen=True)
class Projection:
    """A model's time put together from parts; nothing of it was measured as a whole but `runtime_s`.

    Attributes:
        layers: its workloads, the largest share first.
        rest_s: seconds of everything else in ONNX Runtime's profile.
        runtime_s: seconds of a whole run in ONNX Runtime, measured.
    """

    layers: Sequence[ProjectedLayer]
    rest_s: float
    runtime_s: float

    @property
    def projected_s(self) -> float:
        """The tuned kernels' times, and ONNX Runtime's for what is not tuned."""
        return self.rest_s + sum(layer.used_s for layer in self.layers)

    @property
    def profiled_s(self) -> float:
        """The sum of ONNX Runtime's own profile, which the projection is to be compared with."""
        return self.rest_s + sum(layer.share.time_s for layer in self.layers)


def project(ready: Prepared, campaign: "StoredCampaign | None", store: "Store") -> Projection:
    """What the layers that were tuned make of the model's time."""
    from tuner.report.network import layer_rows

    rows = {row.context.workload: row for row in (layer_rows(campaign, store) if campaign else ())}
    layers = []
    for share in ready.shares:
        row = rows.get(share.workload)
        if row is None or row.tuned is None:
            layers.append(ProjectedLayer(share))
            continue
        library = (row.library.implementation, row.library.interval.mid) if row.library else None
        layers.append(ProjectedLayer(share, row.tuned.interval, row.tuned.implementation, library))
    return Projection(layers, ready.profile.rest_s, ready.profile.model_s)


def projection_plain(told: Projection) -> dict[str, Any]:
    """The projection as plain values for JSON; seconds."""
    from tuner.report.records_json import interval_list

    layers = [
        {
            "workload": layer.share.workload.key, "count": layer.share.count,
            "onnxruntime_profile_s": layer.share.time_s, "share": layer.share.share,
            "tuned_s": layer.tuned.mid if layer.tuned else None,
            "tuned_interval_s": interval_list(layer.tuned),
            "kernel": layer.kernel or None, "matters": layer.share.matters,
            "library": layer.library[0] if layer.library else None,
            "library_s": layer.library[1] if layer.library else None,
        }
        for layer in told.layers
    ]  # fmt: skip
    return {
        "layers": layers, "rest_s": told.rest_s, "onnxruntime_s": told.runtime_s,
        "onnxruntime_profile_s": told.profiled_s, "projected_s": told.projected_s,
        "evidence": {"onnxruntime_s": "measured", "projected_s": "sum of parts, not measured as a whole"},
    }  # fmt: skip
