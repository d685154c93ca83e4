"""Library baselines run on as many threads as what they are compared with."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuner import registry
from tuner.core.protocol import Protocol
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging import dataset
from tuner.engine.judging.runner import TrialRun
from tuner.engine.processes.channel import Channel
from tuner.schedules import library

SHAPES = {
    "gemm": "512x512x512", "conv2d": "n1 c64 h56 w56 k64 r3 s3 pad1", "attention": "1x8x512x512x64",
}  # fmt: skip
CALLS = 30


def busy_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: of each thread, seconds of CPU during some calls and how many cores it may use, most first."""
    device = payload["device"]
    device.prepare(payload["protocol"].threads)
    data = dataset.compute(registry.operator(payload["workload"].operator), payload["workload"], 0)
    # As a trial does where companions are verified first: the library is there when it is loaded again.
    TrialRun(device, payload["artifact"], data.layout, data.inputs).run()
    run = TrialRun(device, payload["artifact"], data.layout, data.inputs)
    run.run()
    device.calibrate()  # waits, as in a trial, until workers that were just made spin no more
    settle()
    before = busy()
    run.executable.sample(CALLS)
    after = busy()
    cores = {t: len(os.sched_getaffinity(int(t))) for t in after}
    channel.send(sorted(((after[t] - before.get(t, 0.0), cores[t]) for t in after), reverse=True))


def settle() -> None:
    """Where other processes compute, workers that were just made are late to spin, and to stop."""
    for _ in range(100):
        before = busy()
        time.sleep(0.02)
        if all(spent - before.get(t, 0.0) < 1e-3 for t, spent in busy().items() if int(t) != os.getpid()):
            break


def busy() -> dict[str, float]:
    tasks = Path("/proc/self/task")
    return {t.name: 1e-9 * int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("operator", list(SHAPES))
def test_a_library_works_on_the_threads_of_the_protocol(operator: str, threads: int) -> None:
    device = CpuDevice()
    workload = registry.operator(operator).parse(SHAPES[operator])
    with Workshop(device, Protocol(threads=threads), seed=0) as workshop:
        target = workshop.target
        libraries = [
            kernel for kernel in registry.kernels_of(operator, "cpu")
            if kernel.baseline and not kernel.unavailable() and not kernel.unsupported(workload, target)
        ]  # fmt: skip
        assert libraries
        for kernel in libraries:
            artifact = workshop.build(kernel, workload, {}).artifact
            payload = {
                "device": device, "protocol": workshop.protocol, "workload": workload, "artifact": artifact,
            }  # fmt: skip
            spent = workshop._workers.ask(workshop._run, busy_job, payload, workshop._limits, 60)
            # Shares of the work are equal; what one thread does alone (a softmax, a copy) is not much here.
            whole = sum(seconds for seconds, _ in spent)
            working = [cores for seconds, cores in spent if seconds > 0.2 * whole / threads]
            assert len(working) == threads, (kernel.name, spent)
            if threads == 2 and "onnxruntime" in kernel.name:
                # Its own threads are pinned as it does by itself where it is not told how many there are.
                assert min(working) == 1, spent


def test_what_the_libraries_share_is_part_of_their_identity() -> None:
    baselines = [k for op in SHAPES for k in registry.kernels_of(op, "cpu") if k.baseline]
    shared = Path(str(library.__file__))
    assert len(baselines) > 6 and all(shared in k.source_files() for k in baselines)
