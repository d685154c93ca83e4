"""A GPU's clock: held and let go, steady under load, and the calibration that is of the same kind of work."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.devices import fake_cupy
from tests.devices.test_cuda import loaded
from tests.engine.planted import planted
from tests.processes import python_path
from tuner import registry
from tuner.core.errors import TunerError, Unavailable
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.devices.cpu.device import CpuDevice
from tuner.devices.cuda import context
from tuner.devices.cuda.device import CudaDevice
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.judged_run import JudgedRun

_NVML = """
import os
LOG = os.environ["CLOCK_LOG"]
def note(text):
    with open(LOG, "a") as file:
        file.write(text + "\\n")
def nvmlInit(): pass
def nvmlDeviceGetHandleByPciBusId(bus): return bus
def nvmlDeviceSetGpuLockedClocks(device, least, most):
    if os.environ.get("CLOCK_REFUSED"):
        raise RuntimeError("Insufficient Permissions")
    note(f"lock {device.decode()} {least} {most}")
def nvmlDeviceResetGpuLockedClocks(device): note("reset")
"""


@pytest.fixture
def clock_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for NVML, in the processes that are started, was told."""
    (tmp_path / "pynvml.py").write_text(_NVML)
    monkeypatch.setenv("PYTHONPATH", python_path(tmp_path, fake_cupy.ROOT))
    monkeypatch.setenv("CLOCK_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_a_clock_is_held_and_let_go_however_the_process_ends(clock_log: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from tuner.devices.cuda.clocks import held\n"
        "with held('0000:01:00.0', 0, 1410):\n"
        "    print('held', flush=True)\n"
        "    if sys.argv[1] == 'killed':\n"
        "        time.sleep(60)\n"
    )
    for how in ("leaves", "killed"):
        process = subprocess.Popen(
            [sys.executable, "-c", program, how], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        if how == "killed":
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
        until = time.monotonic() + 20
        while "reset" not in clock_log.read_text() and time.monotonic() < until:
            time.sleep(0.02)
        assert clock_log.read_text().splitlines() == ["lock 0000:01:00.0 1410 1410", "reset"], how
        clock_log.unlink()


def test_a_clock_that_may_not_be_held_is_one_line_that_says_what_to_do(
    fake_gpu: ModuleType, clock_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOCK_REFUSED", "1")
    (device,) = CudaDevice.discover()
    with pytest.raises(Unavailable, match=r"Insufficient Permissions; as root 'nvidia-smi -i 0 -lgc 1410"):
        device.held(Protocol(clock_mhz=1410)).__enter__()
    with device.held(Protocol()):
        pass
    with pytest.raises(Unavailable, match="cannot be held: leave out --lock-clock"):
        CpuDevice.discover()[0].held(Protocol(clock_mhz=1410))


def test_a_load_that_lasts_and_a_clock_that_is_held_are_another_quantity() -> None:
    plain = Protocol(threads=1)
    others = [replace(plain, sustained_s=2.0), replace(plain, clock_mhz=1410), replace(plain, clock_mhz=1980)]
    assert len({p.digest for p in (plain, *others)}) == 4
    assert Protocol.from_dict(others[0].as_dict()) == others[0]
    for wrong in ({"sustained_s": 16.0}, {"sustained_s": -1.0}, {"clock_mhz": -5}):
        with pytest.raises(TunerError, match=next(iter(wrong))):
            replace(plain, **wrong)  # type: ignore[arg-type]


def test_the_device_is_kept_busy_without_pauses(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = loaded(tmp_path)
    executable.run()
    fake_gpu.machine.launches.clear()
    before = fake_gpu.machine.host_ns
    monkeypatch.setattr(context, "MOST_QUEUED", 8)  # the emulator is slow
    executable.keep_busy(2e-4)
    assert fake_gpu.machine.host_ns - before >= 200_000
    # A call takes the fake 5.256 us, and the GPU is not held between portions.
    assert len(fake_gpu.machine.launches) >= 2e-4 / 5.3e-6
    assert "tuner_hold" not in fake_gpu.machine.launches
    assert fake_gpu.machine.host_ns >= fake_gpu.machine.gpu_ns, "it waits for the last one"


def test_a_candidate_is_under_load_before_its_first_sample_and_after_each_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = JudgedRun.__new__(JudgedRun)
    run._protocol, run._idle_since = Protocol(sustained_s=2.0), None
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert run._load_s() == 2.0
    run._idle_since, clock[0] = 100.0, 100.25
    assert run._load_s() == pytest.approx(0.5)
    clock[0] = 130.0
    assert run._load_s() == 2.0
    run._protocol = Protocol()
    assert run._load_s() == 0.0


def test_drift_is_followed_by_the_same_kind_of_work(fake_gpu: ModuleType) -> None:
    (device,) = CudaDevice.discover()
    device.prepare(1)
    # A product of 4096^3, a matrix times a vector, a product of f16: by the target's rates.
    kinds = {
        "": (2 * 4096**3, 3 * 4 * 4096**2, "f32"),
        "memory": (2 * 4096**2, 4 * 4096**2, "f32"),
        "tensor": (2 * 4096**3, 3 * 2 * 4096**2, "f16"),
    }
    for kind, work in kinds.items():
        assert device.calibration_kind(*work) == kind
    assert device.calibrate_as("") == pytest.approx(1e-3)
    assert device.calibrate_as("tensor") == pytest.approx(0.5e-3)
    copied = device.calibrate_as("memory")
    assert copied == pytest.approx(8 * 2**20 / 3000 * 1e-9, rel=1e-3)
    assert fake_gpu.machine.launches.count("tuner_mma") == 1
    assert CpuDevice.discover()[0].calibration_kind(1, 10**9, "f32") == ""


@pytest.mark.slow
def test_a_trial_under_load_goes_all_the_way(tmp_path: Path) -> None:
    """On the CPU: the load costs its seconds, and nobody is accused for them."""
    device = CpuDevice.discover()[0]
    protocol = Protocol(threads=1, sustained_s=0.3, budget_s=0.02)
    gemm = registry.operator("gemm")
    workload = gemm.parse("32x32x32")
    with Workshop(device, protocol, seed=3) as workshop:
        workshop.prepare(gemm, workload)
        found = workshop.measure(
            workload, workshop.build(planted(tmp_path, "right"), workload, {"UNUSED": 0}), None, None
        )
    assert found.status is Status.OK and found.run_s > 0.3


def test_a_reference_is_taken_when_the_clock_no_longer_rises(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle H100 ran its first kernels at seven eighths of the clock that it then kept."""
    (device,) = CudaDevice.discover()
    begun = fake_gpu.machine.host_ns

    def fma(self: object, rounds: int) -> tuple[float, float]:
        fake_gpu.machine.host_ns += 300_000
        return (317e-6 if fake_gpu.machine.host_ns - begun < 20e6 else 279e-6), 1.0

    monkeypatch.setattr(context.GpuContext, "fma", fma)
    assert device.calibrate_as("") == 279e-6
    begun = fake_gpu.machine.host_ns
    assert device.calibrate_as("") == 317e-6, "once a process: what is measured later is the clock of then"
