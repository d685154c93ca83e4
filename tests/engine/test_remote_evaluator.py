"""The engine drives two other processes, as hosts with fingerprints of their own, through `Evaluator`.

Remote runners are not part of the lab yet; this is the proof that what they need is: bundles, datasets made
again, outcomes in any order, one lost, one twice, each trial stored where it ran.
"""

import base64
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.engine.planted import planted
from tuner import registry
from tuner.core.artifact import Toolchain
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.engine.building.bundle import bundle_name, pack
from tuner.engine.candidate.evaluator import Evaluated, Place, Standing, TrialJob
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.dataset import DatasetRequest, request_for
from tuner.engine.processes.channel import Channel
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.records import DeviceInfo
from tuner.store.store import open_store

ROOT = Path(__file__).parents[2]
WORKLOAD = registry.operator("gemm").parse("24x24x24")
# A binary of its own for each value; the third is wrong.
BODY = "right(A, B, D, m, n, k); if (UNUSED == 2) D[0] += 1;\n volatile int own = UNUSED; (void)own;"
HOSTS = ("alpha", "beta")


class Remote:
    """Builds here, measures on two hosts: odd tickets on `beta`, even ones on `alpha`."""

    def __init__(self, workshop: Workshop, folder: Path, lose: int, twice: int) -> None:
        self._shop, self._lose, self._twice = workshop, [lose], twice
        own = workshop.device
        self._known = DeviceInfo.of(own)
        self.protocol, self.target, self.jobs = workshop.protocol, workshop.target, workshop.jobs
        self.device = _Renamed(own, f"{own.fingerprint}-alpha")
        self._channels, self._processes = {}, []
        for name in HOSTS:
            ours, theirs = socket.socketpair()
            (folder / name).mkdir()
            command = [sys.executable, "-m", "tests.engine.remote_host", name, str(folder / name)]
            self._processes.append(
                subprocess.Popen([*command, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=ROOT)
            )
            theirs.close()
            self._channels[name] = Channel(ours)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        for process in self._processes:
            assert process.wait(20) == 0

    def prepare(self, operator: Any, workload: Any, companions: bool = True) -> None:
        for each in (workload, *operator.companions(workload)):
            request: DatasetRequest = request_for(operator, each, 11)
            for channel in self._channels.values():
                channel.send({"do": "dataset", "dataset": request.as_dict()})

    def stop(self) -> None:
        pass

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        for job, built in zip(jobs, self._shop.build_all([job.request for job in jobs]), strict=True):
            assert built.status is Status.OK, built.error
            data = pack(built)
            built.discard()
            self._channels[HOSTS[job.ticket % 2]].send(
                {"do": "run", "ticket": job.ticket, "workload": job.request.workload.key,
                 "bundle": base64.b64encode(data).decode(), "name": bundle_name(data)}
            )  # fmt: skip
        for name in reversed(HOSTS):
            self._channels[name].send({"do": "flush"})
            while "end" not in (answer := self._channels[name].receive(60)):
                if answer["ticket"] in self._lose:
                    self._lose.remove(answer["ticket"])
                    continue
                for _ in range(2 if answer["ticket"] == self._twice else 1):
                    yield self._evaluated(answer)

    def _evaluated(self, answer: dict[str, Any]) -> Evaluated:
        status = Status.WRONG_RESULT if answer["error"] else Status.OK
        samples = () if answer["error"] else tuple(answer["samples"])
        found = Measurement(
            status, Evidence.MEASURED, samples, answer["error"], artifact=answer["artifact"]
        )  # fmt: skip
        name, version, flags = answer["toolchain"]
        device = replace(self._known, fingerprint=answer["fingerprint"], name=f"CPU of {answer['host']}")
        place = Place(answer["host"], device, Toolchain(name, version, tuple(flags)))
        return Evaluated(answer["ticket"], found, place)


class _Renamed:
    """The device of this machine under another fingerprint: the hosts' are not this machine's."""

    def __init__(self, device: Any, fingerprint: str) -> None:
        self._device, self.fingerprint = device, fingerprint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.numbers: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trial_done(self, event: Any) -> None:
        self.numbers.append(event.number)


def test_two_hosts_measure_for_one_sweep(tmp_path):
    kernel = planted(tmp_path, "travels", BODY, values=list(range(8)))
    watch = Notes()
    with (
        open_store(str(tmp_path / "results.db")) as store,
        Workshop(campaign.default_device(), Protocol(threads=1), seed=3) as workshop,
    ):
        remote = Remote(workshop, tmp_path, lose=3, twice=4)
        request = SweepRequest(kernel, WORKLOAD, "random", 5, Budget(trials=8))
        result = Sweep(request, remote, store, watch, None).run()
        remote.close()
        assert watch.numbers != sorted(watch.numbers) and sorted(watch.numbers) == list(range(8))
        assert any("asked for again" in note for note in watch.notes)
        assert any("second outcome of proposal 4" in note for note in watch.notes)
        assert result.statuses == {"ok": 7, "wrong_result": 1}
        (wrong,) = [t for t in result.trials if t.measurement.status is Status.WRONG_RESULT]
        assert wrong.key.config["UNUSED"] == 2
        for number, trial in store.numbered_history(result.sweep_id):
            detail = store.trial(trial.id)
            name = HOSTS[number % 2]
            assert (detail.trial.host, detail.device.fingerprint.rpartition("-")[2]) == (name, name)
            assert detail.toolchain[0] == registry.builder("cxx").toolchain(workshop.target).name
        assert {row.device.fingerprint.rpartition("-")[2] for row in store.best()} == set(HOSTS)
        assert store.count() == 8
