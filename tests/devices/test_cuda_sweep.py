"""The whole measured path on a fake GPU: found, built, loaded, verified, timed, stored, final, best."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from tests.devices import fake_cupy
from tests.processes import python_path
from tuner import registry
from tuner.core.errors import Unavailable, UnknownName
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.devices.cuda.device import CudaDevice
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.candidate.described import DescribedDevice
from tuner.engine.candidate.devices import find_device
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import Finalist, run_final
from tuner.engine.tuning.foreseen import foreseen_starts
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store
from tuner.targets import cuda

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("24x20x16")

_PLANTED = """/*[tuner]
name = "{name}"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
[parameters]
WAY = [0, 1, 2, 3]
[launch]
grid = ["ceildiv(n, 8)", "ceildiv(m, 8)"]
block = ["8", "8"]
*/
// FAKE ILLEGAL ADDRESS WHERE WAY 1
extern "C" __global__ void gemm(const float* A, const float* B, float* D, int m, int n, int k) {{
  int i = blockIdx.y * 8 + threadIdx.y, j = blockIdx.x * 8 + threadIdx.x;
  if (i >= m || j >= n) return;
  float sum = 0;
  for (int p = 0; p < k; ++p) sum += A[i * k + p] * B[p * n + j];
  D[i * n + j] = sum;
#if WAY == 1
  if (k < 0) D[0] = 1;  // another binary than that of 0
#endif
#if WAY == 2
  if (i == 0 && j == 0) D[m * n + 3] = 1;
#endif
#if WAY == 3
  if (i == m - 1 && j == n - 1) const_cast<float*>(B)[0] += 1;  // the emulator's last thread
#endif
}}
"""


class Notes(Observer):
    """What people are told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def sweep(kernel: Any, store: Store, trials: int = 10, observer: Observer | None = None) -> Any:
    (device,) = CudaDevice.discover()
    protocol = campaign.default_protocol(device)
    with Workshop(device, protocol, seed=3, jobs=1) as workshop:
        request = SweepRequest(kernel, WORKLOAD, "grid", 0, Budget(trials=trials))
        reference = campaign.calibration_reference(workshop, store)
        result = Sweep(request, workshop, store, observer or Observer(), reference).run()
        pids = workshop._kept
    return result, pids


def test_a_sticky_error_ends_the_child_and_not_the_sweep(
    fake_gpu: ModuleType, tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "planted.cu"
    path.write_text(_PLANTED.format(name="planted"))
    result, kept = sweep(registry.source_kernel(path), store)
    found = {t.key.config["WAY"]: t.measurement for t in result.trials}
    assert {way: m.status for way, m in found.items()} == {
        0: Status.OK, 1: Status.RUN_ERROR, 2: Status.WRONG_RESULT, 3: Status.WRONG_RESULT,
    }  # fmt: skip
    assert "cudaErrorIllegalAddress" in found[1].error
    assert "stray write at D" in found[2].error and "changed its input B" in found[3].error
    assert kept is not None, "after a wrong result the process may go on"
    right = found[0]
    assert right.calibration is not None and right.calibration.drift == pytest.approx(1.0)
    assert right.metrics["sm_clock_hz_before"] == 1755e6 and right.metrics["throttled"] == 0
    assert right.metrics["registers"] > 0 and right.metrics["occupancy"] > 0
    # 3 x 3 blocks of 64 threads in the fake's model of time.
    assert right.time_s == pytest.approx((5000 + 9 * 64) * 1e-9, rel=1e-6)


def test_what_the_target_cannot_hold_never_runs(fake_gpu: ModuleType, tmp_path: Path, store: Store) -> None:
    path = tmp_path / "spilling.cu"
    text = _PLANTED.format(name="spilling").replace("WAY = [0, 1, 2, 3]", "WAY = [0]")
    path.write_text(text.replace('block = ["8", "8"]', 'block = ["8", "8"]\nshared_bytes = "400 * 1024"'))
    result, _ = sweep(registry.source_kernel(path), store)
    (trial,) = result.trials
    assert trial.measurement.status is Status.OVER_RESOURCES
    assert "shared memory" in trial.measurement.error and trial.measurement.run_s == 0


def test_the_kept_child_lets_an_exclusive_gpu_go_before_peaks_are_measured(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"exclusive": str(tmp_path / "lock"), "attributes": {"ComputeMode": 3}}
    monkeypatch.setenv("FAKE_GPU", json.dumps(asked))
    (device,) = CudaDevice.discover()
    path = tmp_path / "planted.cu"
    path.write_text(_PLANTED.format(name="planted"))
    with Workshop(device, campaign.default_protocol(device), seed=3, jobs=1) as workshop:
        workshop.prepare(GEMM, WORKLOAD)
        built = workshop.build(registry.source_kernel(path), WORKLOAD, {"WAY": 0})
        assert workshop.measure(WORKLOAD, built, None, None).status is Status.OK
        assert workshop._kept is not None
        assert workshop.limits()["peak_flops_f32"] > 0 and workshop.calibrate()[0] > 0


def test_a_library_runs_where_what_it_imports_is_there_already(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch takes four seconds to import: in the process that trials are forked from, not in each trial."""
    monkeypatch.setattr(CudaDevice, "preload_of_libraries", ("this_is_slow",))
    log = tmp_path / "imports"
    slow = tmp_path / "fake" / "this_is_slow.py"
    slow.write_text(f"open({str(log)!r}, 'a').write('x')\n")
    (device,) = CudaDevice.discover()
    path = tmp_path / "planted.cu"
    path.write_text(_PLANTED.format(name="planted"))
    kernels = [registry.source_kernel(path), registry.kernel("cublas")]
    with Workshop(device, campaign.default_protocol(device), seed=3, jobs=1) as workshop:
        workshop.prepare(GEMM, WORKLOAD)
        ours, library = (
            workshop.build(kernel, WORKLOAD, config)
            for kernel, config in zip(kernels, ({"WAY": 0}, {}), strict=True)
        )
        assert workshop.measure(WORKLOAD, ours, None, None).status is Status.OK
        assert not log.exists(), "who compares with nobody waits for no library"
        first = workshop._kept
        assert workshop.measure(WORKLOAD, library, None, None).status is Status.OK
        then = workshop._kept
        assert first and then and then[0].pid != first[0].pid
        for built in (ours, library):
            assert workshop.measure(WORKLOAD, built, None, None).status is Status.OK
        assert workshop._kept and workshop._kept[0].pid == then[0].pid
    assert log.read_text() == "x"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "remark"),
    [('"exclusive": "LOCK", "attributes": {"ComputeMode": 3}', "one finalist at a time"),
     ('"free": 2200000000', "finalists in groups")],
)  # fmt: skip
def test_a_final_goes_on_where_not_all_can_hold_the_gpu(
    fake_gpu: ModuleType, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch,
    asked: str, remark: str,
) -> None:  # fmt: skip
    """With the child of the trials before still there, and peaks measured in between."""
    monkeypatch.setenv("FAKE_GPU", "{" + asked.replace("LOCK", str(tmp_path / "lock")) + "}")
    (device,) = CudaDevice.discover()
    path = tmp_path / "planted.cu"
    path.write_text(_PLANTED.format(name="planted").replace("WAY = [0, 1, 2, 3]", "WAY = [0, 4]"))
    kernel = registry.source_kernel(path)
    with Workshop(device, campaign.default_protocol(device), seed=3, jobs=1) as workshop:
        workshop.prepare(GEMM, WORKLOAD)
        built = [workshop.build(kernel, WORKLOAD, {"WAY": way}) for way in (0, 4)]
        assert workshop.calibrate()[0] > 0
        assert workshop.measure(WORKLOAD, built[0], None, None).status is Status.OK
        assert workshop._kept is not None
        assert workshop.limits()["peak_flops_f32"] > 0
        assert workshop.measure(WORKLOAD, built[1], None, None).status is Status.OK
        finalists = [Finalist(f"way{i}", i, each) for i, each in enumerate(built)]
        ranking = run_final(workshop, WORKLOAD, finalists, rounds=1, budget_s=1.0)
    assert [e.error for e in ranking.entries] == ["", ""] and ranking.winner is not None
    assert {len(e.turns.processes) for e in ranking.entries} <= {6, 7, 8, 9}
    assert [line for line in ranking.remarks if remark in line]


def test_a_closed_gpu_is_none_and_says_how_to_open_it(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPU", '{"attributes": {"ComputeMode": 2}}')
    assert CudaDevice.discover() == []
    assert "nvidia-smi -i 0 -c DEFAULT" in str(CudaDevice.unavailable())


def tuner(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user has it, with the fake before the real CuPy on the path."""
    folder = tmp_path / "fake"
    library = folder / "libcuda.so.1"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        fake_cupy.install(folder)
        made = ["g++", "-shared", "-x", "c++", "/dev/null", "-o", str(library), "-Wl,-soname,libcuda.so.1"]
        subprocess.run(made, check=True)
    environment = {
        **os.environ, "PYTHONPATH": python_path(folder, fake_cupy.ROOT), "LD_LIBRARY_PATH": str(folder),
        "TMPDIR": str(tmp_path), "COLUMNS": "200",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=170,
    )


def plant_predictions(store: Store, kernel: Any, configs: list[dict[str, int]]) -> None:
    """What a compile-only sweep of `cuda:sm_90` would have stored, the last configuration the best."""
    described = DescribedDevice(cuda.target("cuda:sm_90"), "H100")
    chain, protocol = registry.builder("nvrtc").toolchain(described.target), Protocol(threads=1)
    spec = SweepSpec(
        WORKLOAD, DeviceInfo.of(described), KernelInfo.of(kernel), "cuda:sm_90", "random", 0, protocol
    )
    store.put_toolchain(chain)
    trials = [
        Trial(
            TrialKey(WORKLOAD, kernel.name, kernel.digest, config, "cuda:sm_90", chain.digest,
                     described.fingerprint, protocol.digest),
            Measurement(Status.OK, Evidence.PREDICTED, samples=(1e-3 / (i + 1),)),
        )
        for i, config in enumerate(configs)
    ]  # fmt: skip
    number = store.begin_sweep(spec)
    store.add_trials(number, trials, list(range(len(trials))))
    store.finish_sweep(number, "finished", {})


@pytest.mark.slow
def test_a_sweep_without_history_begins_at_what_the_model_ranks_best(
    fake_gpu: ModuleType, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, said = registry.kernel("cuda_shared_tiles"), Notes()
    one, begun = BuildStage._one, list[Any]()

    def noted(stage: BuildStage, request: BuildRequest, ended: Any) -> Any:
        begun.append(dict(request.config))
        return one(stage, request, ended)

    monkeypatch.setattr(BuildStage, "_one", noted)
    (device,) = CudaDevice.discover()
    request = SweepRequest(kernel, WORKLOAD, "genetic", 5, Budget(trials=4))
    with Workshop(device, campaign.default_protocol(device), seed=3, jobs=2) as workshop:
        reference = campaign.calibration_reference(workshop, store)
        foreseen = foreseen_starts(
            request, workshop, kernel.space(WORKLOAD, device.target),
            lambda config: BuildRequest(kernel, WORKLOAD, config),
        )  # fmt: skip
        assert len(foreseen.configs) == 1 and foreseen.ranked == 3
        result = Sweep(request, workshop, store, said, reference).run()
        assert result.trials[0].key.config == foreseen.configs[0]
        assert begun.count(dict(foreseen.configs[0])) == 1, "built to be ranked, and not again to be run"
        assert "starts from the best 1 of 3 configurations predicted for cuda:sm_90" in said.lines[0]
        # What was ranked is not stored, and the kernel has a history from now on.
        assert store.count() == len(result.trials)
        assert {trial.measurement.evidence for trial in result.trials} == {Evidence.MEASURED}
        said.lines.clear()
        Sweep(replace(request, seed=6), workshop, store, said, reference).run()
        assert not [line for line in said.lines if "starts from" in line]


def test_the_command_line_measures_ranks_and_remembers(fake_gpu: ModuleType, tmp_path: Path) -> None:
    db = str(tmp_path / "results.db")
    with open_store(db) as store:
        predicted = [{"TILE": 8, "PAD": pad} for pad in (0, 1)] + [{"TILE": 16, "PAD": 1}]
        plant_predictions(store, registry.kernel("cuda_shared_tiles"), predicted)
    done = tuner(
        tmp_path, "sweep", "gemm", "--shape", "24x20x16", "--kernel", "cuda_shared_tiles", "--db", db,
        "--searcher", "random", "--device", "cuda:0", "--trials", "3", "--rounds", "6", "--no-baselines",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # It began where the sweep on paper ended, and says what that was worth.
    assert "starts from the best 1 of 3" in done.stderr and "not measured" in done.stderr
    assert "Fake H100" in done.stdout and "Final: timed again" in done.stdout
    with open_store(db, read_only=True) as store:
        (swept,) = [s for s in store.sweeps() if s.spec.device.kind == "cuda"]
        measured = store.sweep_history(swept.id)
        (best,) = store.best(operator="gemm")
    assert measured[0].key.config == predicted[-1]
    assert measured[0].key.device.startswith("cuda-") and measured[0].measurement.samples
    assert best.evidence == "measured" and best.device.name == "Fake H100" and best.retimed


def test_a_device_is_found_by_name_and_by_target(fake_gpu: ModuleType) -> None:
    for name, target in (("cuda", None), ("cuda:0", None), (None, "cuda:sm_90"), ("cuda:0", "cuda:sm_90")):
        assert find_device(name, target).fingerprint.startswith("cuda-")
    with pytest.raises(Unavailable, match="Fake H100 runs cuda:sm_90"):
        find_device(None, "cuda:sm_80")
    with pytest.raises(Unavailable, match=r"cuda:0 \(Fake H100\)"):
        find_device("cuda:3")
    with pytest.raises(UnknownName, match="known: cpu, cuda"):
        find_device("emulated")


def test_devices_lists_the_gpu_with_what_was_measured(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.cli.describe import devices
    from tuner.devices.cpu.device import CpuDevice

    # This machine's own peaks take a second, alone on its processor.
    monkeypatch.setattr(CpuDevice, "discover", classmethod(lambda cls: []))
    devices(measure=False, threads=None, db=str(tmp_path / "results.db"), json=False)
    printed = capsys.readouterr().out
    assert "cuda: Fake H100 (cuda:sm_90)" in printed and "compute_capability  9.0" in printed
    assert "peak_flops_f32" in printed and "(measured)" in printed


class _Interrupts(Observer):
    """Ctrl-C as soon as there is a trial, while others are built."""

    def trial_done(self, event: Any) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_beside_builds_leaves_neither_files_nor_processes(
    fake_gpu: ModuleType, tmp_path: Path, store: Store
) -> None:
    (device,) = CudaDevice.discover()
    kernels = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.cu"
        path.write_text(_PLANTED.format(name=name))
        kernels.append(registry.source_kernel(path))
    with Workshop(device, campaign.default_protocol(device), seed=3, jobs=2) as workshop:
        requests = [SweepRequest(kernel, WORKLOAD, "grid", 0, Budget(trials=4)) for kernel in kernels]
        race = Race(requests, workshop, store, _Interrupts(), None, give_up_after=2)
        race.run()
        assert race.interrupted and store.count() == 1
        assert not list(workshop._folder.glob("build-*"))
        jobs = [job for warm in psutil.Process().children() for job in warm.children()]
        assert not psutil.wait_procs(jobs, timeout=20)[1]
