"""Inside a disposable child: lower a configuration and build it."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuner import registry
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.errors import BuildError, InvalidConfig, TunerError
from tuner.core.kernel import Argument, Growth, Kernel, KernelStep, Launch
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.processes import machine_faults
from tuner.engine.processes.channel import Channel


def artifact_to_plain(artifact: Artifact) -> dict[str, Any]:
    """An artifact as JSON values."""
    return {**asdict(artifact), "path": str(artifact.path), "metrics": dict(artifact.metrics)}


def _step_from_plain(values: Mapping[str, Any]) -> KernelStep:
    arguments = tuple(Argument(**a) for a in values["arguments"])
    return KernelStep(values["entry"], arguments, _launch_from_plain(values["launch"]), values["metrics"])


def _launch_from_plain(values: Mapping[str, Any] | None) -> Launch | None:
    return Launch(tuple(values["grid"]), tuple(values["block"]), values["shared_bytes"]) if values else None


def artifact_from_plain(values: Mapping[str, Any]) -> Artifact:
    """The inverse of `artifact_to_plain`."""
    last = _step_from_plain(values)
    chain = values["toolchain"]
    return Artifact(
        path=Path(values["path"]),
        format=values["format"],
        entry=last.entry,
        arguments=last.arguments,
        digest=values["digest"],
        toolchain=Toolchain(chain["name"], chain["version"], tuple(chain["flags"])),
        threads=values["threads"],
        launch=last.launch,
        metrics=last.metrics,
        before=tuple(_step_from_plain(step) for step in values["before"]),
        prepare=_step_from_plain(values["prepare"]) if values.get("prepare") else None,
        growth=_growth_from_plain(values.get("growth")),
    )


def _growth_from_plain(values: Mapping[str, Any] | None) -> Growth | None:
    if not values:
        return None
    return Growth(values["entry"], tuple(Argument(**a) for a in values["arguments"]), values["along"])


def build_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: lowers and builds candidates of one kernel, one request after the other, until told `null`.

    Payload: `kernel` and `target`. A request is {"workloads": keys, "config", "folder"}; the first workload
    is the one asked for, the others are companions. The answer is {"status", "error", "artifacts",
    "build_s"}, where the artifacts are in the order of the workloads; of status `environment` also
    "passing", as in `MachineFault`.
    """
    while (request := channel.receive()) is not None:
        channel.send(_build(payload["kernel"], payload["target"], request))


def _build(kernel: Kernel, target: Target, request: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": "ok", "error": "", "artifacts": []}
    started = time.perf_counter()
    try:
        builder = registry.builder_of(kernel, target)
        # Values become source text. A stored configuration may come from anybody: the space decides.
        asked = Workload.from_key(request["workloads"][0])
        config = kernel.space(asked, target).check(request["config"])
        for i, key in enumerate(request["workloads"]):
            workload = Workload.from_key(key)
            folder = Path(request["folder"]) / str(i)
            folder.mkdir(parents=True)
            artifact = builder.build(kernel.lower(workload, config, target), target, folder)
            answer["artifacts"].append(artifact_to_plain(artifact))
    except InvalidConfig as error:
        answer.update(status="infeasible", error=str(error))
    except Exception as error:
        answer.update(_failure(error))
    answer["build_s"] = time.perf_counter() - started
    return answer


def _failure(error: Exception) -> dict[str, Any]:
    """Status and reason of a build that failed, by who is to blame; `passing` as in `MachineFault`."""
    fault = machine_faults.of_exception(error)
    if fault is None and isinstance(error, BuildError):
        fault = machine_faults.of_output(str(error))
    if fault is not None:
        return {"status": "environment", "error": fault.reason, "passing": fault.passing}
    if isinstance(error, MemoryError):
        return {"status": "build_error", "error": "the build ran out of memory"}
    named = "" if isinstance(error, TunerError) else f"{type(error).__name__}: "
    return {"status": "build_error", "error": f"{named}{error}"}
