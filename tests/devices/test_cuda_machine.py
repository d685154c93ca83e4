"""What a machine with a GPU has beside it: a driver, other processes, a slow host, variables; on the fake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.devices.test_cuda import built
from tuner.devices.cuda.device import CudaDevice


@pytest.mark.parametrize(
    ("served", "extra"),
    [(12040, "cuda12"), (11080, "oldest that serves is 525"), (13000, None), (14010, None)],
)
def test_a_driver_too_old_is_one_line_with_the_extra_that_fits(served: int, extra: str | None) -> None:
    from tuner.devices.cuda.driver import too_old

    line = too_old(served, {"cuda-bindings": 13, "cupy-cuda13x": 13})
    if extra is None:
        assert line is None
    else:
        assert line is not None and extra in line and "580" in line and "\n" not in line
    assert too_old(12020, {"cuda-bindings": 12, "cupy-cuda12x": 12}) is None
    # One wheel of the wrong release is enough.
    assert "cupy-cuda13x" in str(too_old(12020, {"cuda-bindings": 12, "cupy-cuda13x": 13}))


def test_a_device_behind_an_old_driver_is_none_with_the_reason(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPU", '{"driver": 11080}')
    assert CudaDevice.discover() == []
    assert "the NVIDIA driver serves CUDA 11.8" in str(CudaDevice.unavailable())


def test_one_interrupted_sample_does_not_make_every_later_hold_long() -> None:
    from tuner.devices.cuda.queueing import FIRST_S, MOST_S, Queueing

    queueing = Queueing()
    queueing.took(0.5, 50)  # the system had the processor elsewhere
    assert queueing.hold_s(50) < MOST_S
    for _ in range(10):
        queueing.took(50 * 4e-6, 50)
    assert queueing.launch_s < FIRST_S
    for _ in range(10):
        queueing.took(5.0, 1)
    assert queueing.hold_s(256) == MOST_S


def test_an_illegal_access_is_no_lack_of_memory(fake_gpu: ModuleType) -> None:
    from tuner.devices.cuda.memory import Region

    fake_gpu.machine.broken = True
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Region(fake_gpu.runtime, fake_gpu.Stream(), 16)


def test_other_processes_on_the_gpu_are_mentioned_and_not_our_own(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = CudaDevice.discover()
    monkeypatch.setenv("FAKE_GPU", json.dumps({"pids": [os.getpid()]}))
    assert device.remarks(1) == ()
    monkeypatch.setenv("FAKE_GPU", json.dumps({"pids": [os.getpid(), 1]}))
    (line,) = device.remarks(1)
    assert "another process uses the GPU: pid 1 (1.5 GiB)" in line


def test_a_time_beside_which_others_used_the_gpu_says_so(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = CudaDevice.discover()
    monkeypatch.setenv("FAKE_GPU", json.dumps({"pids": [os.getpid()]}))
    alone = device.state()
    assert "other_processes" not in device.conditions(alone, alone)
    monkeypatch.setenv("FAKE_GPU", json.dumps({"pids": [os.getpid(), 1, 4_000_001]}))
    assert device.conditions(alone, device.state())["other_processes"] == 2
    # Numbers of another namespace: nobody of ours among them.
    monkeypatch.setenv("FAKE_GPU", json.dumps({"pids": [4_000_001]}))
    assert "other_processes" not in device.state()


def test_an_occupancy_that_is_not_the_drivers_is_recorded(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = CudaDevice.discover()
    artifact, _ = built("cuda_naive", tmp_path / "tuner-a" / "0", "16x16x16", BLOCK_M=32, BLOCK_N=4)
    ours = int(device.target.metrics(artifact)["blocks_sm"])
    executable = device.load(artifact)
    for drivers, differs in ((ours, None), (ours - 2, -2)):
        monkeypatch.setattr(
            fake_gpu.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *asked, n=drivers: n
        )
        found = executable.metrics()
        assert found["driver_blocks_sm"] == drivers and found.get("occupancy_differs") == differs


def test_children_do_not_wait_for_each_launch() -> None:
    from tuner.core.environment import clean_environment

    told = clean_environment({"CUDA_LAUNCH_BLOCKING": "1", "CUDA_VISIBLE_DEVICES": "0"})
    assert told == {"CUDA_VISIBLE_DEVICES": "0"}


_OCCUPANCY = """
import json, pathlib, sys
from tests.devices.test_cuda import built
from tuner.devices.cuda.context import Function
from tuner.devices.cuda.device import CudaDevice
from tuner.targets.gpu_model.occupancy import occupancy
device, found = CudaDevice.discover()[0], []
for i, name in enumerate(("cuda_shared_tiles", "cuda_warp_tiles", "cuda_double_buffered", "cuda_split_k")):
    artifact, _ = built(name, pathlib.Path(sys.argv[1]) / str(i), "256x256x256")
    launch, metrics = artifact.launch, artifact.metrics
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    context = device._context
    function = Function(context.driver, context.load(artifact.path.read_bytes()), artifact.entry)
    function.allow_shared(launch.shared_bytes)
    ours = occupancy(device.target, threads, int(metrics["registers"]), int(metrics["shared_bytes"]))
    found.append([name, ours.blocks, function.blocks_an_sm(threads, launch.shared_bytes)])
print(json.dumps(found))
"""


@pytest.mark.gpu
def test_on_a_gpu_the_driver_has_the_same_occupancy(tmp_path: Path) -> None:
    """In a process of its own, as above."""
    done = subprocess.run([sys.executable, "-c", _OCCUPANCY, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, ours, drivers in json.loads(done.stdout):
        assert ours == drivers, name
