"""A sweep for a device that is not there: compiled, checked, emulated where it counts, ranked by a model.

Every candidate is built; one that the target cannot hold, or that spills, is `over_resources`. The others get
a time from the target's model (`Target.model`), stored as `evidence: predicted`. A candidate that
would become the best is first run on the emulator with all sanitizers, on small ragged shapes, so that the
head of the ranking is known to be right. Nothing here is ever a measured time.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import TunerError, Unavailable, UnknownName
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, BuildStage, Built, one_by_one
from tuner.engine.candidate.evaluator import Evaluated, Standing, TrialJob
from tuner.engine.candidate.in_turn import in_turn
from tuner.engine.examine.check import check_kernel
from tuner.engine.processes.preflight import prepared_scratch
from tuner.engine.processes.workers import Workers
from tuner.engine.tuning.campaign import campaign_spec
from tuner.engine.tuning.campaign_log import CampaignLog, PartLog
from tuner.engine.tuning.campaign_outcome import CampaignOutcome
from tuner.engine.tuning.choice import requests_of
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.setting import Setting
from tuner.store.records import DeviceInfo

# A GEMM of 128^3: half a second on the emulator without the sanitizers, a few with them.
_EMULATED_FLOPS = 2 * 128**3


class CompileShop:
    """Takes the place of a `Workshop` where there is no device.

    Args:
        device: a described one.
        protocol: gives the limits of a build.
        jobs: builds at a time; default one for each CPU of this process.
    """

    def __init__(self, device: Device, protocol: Protocol, jobs: int | None = None) -> None:
        jobs = jobs or len(os.sched_getaffinity(0))
        self.device, self.protocol, self.jobs = device, protocol, jobs
        self.target = device.target
        self._scratch = prepared_scratch(jobs)
        self._folder = self._scratch.path
        self._workers = Workers(self._folder)
        self._stage = BuildStage(self._workers, self._folder, self.target, protocol, jobs, None)
        self._requests: dict[Path, BuildRequest] = {}

    def __enter__(self) -> "CompileShop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close()
        self._scratch.close()

    def stop(self) -> None:
        """Ends the builds that are under way."""
        self._stage.stop()

    def prepare(self, operator: Operator, workload: Workload, companions: bool = True) -> None:
        """Nothing: inputs are made where something is emulated."""

    def forget(self, operator: Operator, workload: Workload) -> None:
        """Nothing: no inputs were kept."""

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        """Builds candidates, `jobs` at a time; in the order given. Companions are emulated, not built."""
        built = self._stage.build_all([replace(r, companions=()) for r in requests])
        for request, made in zip(requests, built, strict=True):
            if made.folder is not None:
                self._requests[made.folder] = request
        return built

    def build_each(self, requests: Sequence[BuildRequest]) -> Generator[Built, None, None]:
        """Builds candidates, then gives them one by one; those that were not taken are removed."""
        return one_by_one(self.build_all(requests))

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        """Builds the candidates, then checks and predicts each; outcomes in the order of the jobs."""
        return in_turn(self, jobs, standing)

    def measure(
        self, workload: Workload, built: Built, incumbent_s: float | None, reference_s: float | None
    ) -> Measurement:
        """A predicted time, or why there is none.

        Args:
            workload: what it computes.
            built: a build, failed ones included.
            incumbent_s: the best prediction so far; a candidate that beats it is emulated first.
            reference_s: has no meaning here.

        Raises:
            MachineFault: as `Workshop.measure`.
        """
        if built.fault and not built.fault.passing:
            raise built.fault.error()
        if built.artifact is None or built.folder is None:
            return Measurement(built.status, Evidence.COMPILED, error=built.error, build_s=built.build_s)
        request = self._requests.pop(built.folder)
        operator = registry.operator(workload.operator)
        metrics = self.target.metrics(built.artifact)
        known = Measurement(
            Status.OK,
            Evidence.COMPILED,
            build_s=built.build_s,
            metrics=metrics,
            artifact=built.artifact.digest,
        )
        problem = self.target.problem(built.artifact)
        if problem:
            return replace(known, status=Status.OVER_RESOURCES, error=problem)
        features = request.kernel.features(workload, request.config, self.target)
        found = self.target.predict(operator, workload, built.artifact, features)
        if found is None:
            return replace(known, status=Status.OVER_RESOURCES, error=f"{self.target.name} holds none of it")
        emulated = 0.0
        if incumbent_s is None or found.time_s < incumbent_s:
            wrong, runs = self._emulate(operator, request)
            if wrong:
                return replace(known, status=Status.WRONG_RESULT, evidence=Evidence.EMULATED, error=wrong)
            emulated = float(runs)
        parts = {f"predicted_{name}_s": value for name, value in found.parts.items()}
        return replace(
            known, evidence=Evidence.PREDICTED, samples=(found.time_s,),
            metrics={**metrics, **parts, "emulated_shapes": emulated},
        )  # fmt: skip

    def _emulate(self, operator: Operator, request: BuildRequest) -> tuple[str, int]:
        """What is wrong with a candidate on small shapes (nothing: empty), and how many it ran on."""
        kernel, config = request.kernel, request.config
        if kernel.searcher:  # its configuration is of this very shape
            small = [w for w in (request.workload,) if operator.flops(w) <= _EMULATED_FLOPS]
        else:
            small = [w for w in operator.companions(request.workload) if self._fits(kernel, w, config)]
        try:
            for result in check_kernel(kernel, small, [config], self.target, sanitize=True):
                if not result.clean:
                    return f"emulated on {result.workload.key}: {result.error or result.status}", 0
        except TunerError:
            # No emulator here, or none for this language: unverified, and the metric says so.
            return "", 0
        return "", len(small)

    def _fits(self, kernel: Kernel, workload: Workload, config: Config) -> bool:
        if kernel.unsupported(workload, self.target):
            return False
        return config in kernel.space(workload, self.target)


def kernels_to_compile(
    workload: Workload, device: Device, names: Sequence[str], strict: bool = True
) -> tuple[list[Kernel], dict[str, str]]:
    """The kernels that compile for a described device, and those that cannot, with the reason.

    Args:
        workload, device, names: what for; no names mean all but those with an open space. Libraries have
            nothing to compile.
        strict: whether a kernel that was named and cannot serve is an error, not only skipped.

    Raises:
        UnknownName: a name is not registered for this operator and target.
        Unavailable: a kernel that was named cannot serve.
    """
    known = {k.name: k for k in registry.kernels_of(workload.operator, device.target.kind)}
    for name in names:
        if name not in known:
            raise UnknownName(f"kernel of {workload.operator} on {device.target.kind}", name, list(known))
    chosen, skipped = [], {}
    for kernel in known.values():
        if kernel.baseline or (names and kernel.name not in names) or (kernel.searcher and not names):
            continue
        reason = kernel.unavailable() or kernel.unsupported(workload, device.target)
        reason = reason or registry.no_builder(kernel, device.target.kind)
        if reason is None:
            chosen.append(kernel)
        elif kernel.name in names and strict:
            raise Unavailable(f"kernel {kernel.name} cannot serve {workload.key}: {reason}")
        else:
            skipped[kernel.name] = reason
    return chosen, skipped


def run_compile_only(
    workload: Workload, kernels: Sequence[Kernel], setting: Setting, skipped: dict[str, str],
    jobs: int | None = None,
) -> CampaignOutcome:  # fmt: skip
    """Ranks the configurations of each kernel for a device that is not there.

    Args:
        workload, kernels, setting, skipped: as for `run_campaign`.
        jobs: builds at a time; default one for each CPU of this process.

    Raises:
        TunerError: a kernel has no valid configuration, a builder is missing.
    """
    names = [kernel.name for kernel in kernels]
    spec = campaign_spec([workload], setting, names, False, asked={"measured": False})
    with (
        CampaignLog(setting.store, spec, setting.plan.resume) as log,
        CompileShop(setting.device, setting.protocol, jobs) as shop,
    ):
        return rank(workload, kernels, setting, skipped, shop, log.part(0))


def rank(
    workload: Workload, kernels: Sequence[Kernel], setting: Setting, skipped: Mapping[str, str],
    shop: CompileShop, log: PartLog,
) -> CampaignOutcome:  # fmt: skip
    """One workload of a campaign whose device is not there; `run_campaign` without peaks and a final.

    Raises:
        TunerError: a kernel has no valid configuration, a builder is missing.
    """
    plan, store = setting.plan, setting.store
    requests = requests_of(workload, kernels, plan, setting.device.target)
    searchers = {request.kernel.name: request.searcher for request in requests}
    with log.begin(kernels, searchers, skipped), store.patience.noted_by(setting.observer.note):
        race = Race(
            requests, shop, store, log.watched(setting.observer), None, plan.reuse, plan.give_up_after
        )
        sweeps = race.run()
        outcome = CampaignOutcome(
            workload, DeviceInfo.of(setting.device), setting.protocol, sweeps, skipped,
            interrupted=race.interrupted, given_up=race.given_up, reused=frozenset(race.reused),
            campaign_id=log.campaign_id,
        )  # fmt: skip
        log.finish(outcome)
    return outcome
