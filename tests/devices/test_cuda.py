"""The CUDA device, on a fake of CuPy that runs kernels on the emulator (`fake_cupy`), and on a GPU."""

import json
import pickle
import random
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.device import Executable
from tuner.core.errors import Unavailable
from tuner.core.kernel import Argument, KernelStep, Launch, Source
from tuner.core.operator import worst_error
from tuner.devices.cuda import facts as _cuda_facts
from tuner.devices.cuda.device import CudaDevice
from tuner.devices.cuda.state import between
from tuner.engine.building.build_process import artifact_from_plain, artifact_to_plain
from tuner.engine.candidate.devices import find_device

GEMM = registry.operator("gemm")


def built(
    kernel_name: str, folder: Path, shape: str, dtype: str = "f32", **config: int
) -> tuple[Artifact, dict]:
    """An artifact for the device at hand, and the tensors of the workload with poisoned outputs."""
    device = CudaDevice.discover()[0]
    kernel, workload = registry.kernel(kernel_name), GEMM.parse(shape, dtype)
    target = device.target
    space = kernel.space(workload, target)
    draws = (space.sample(random.Random(seed)) for seed in range(20_000))
    chosen = next(c for c in draws if config.items() <= c.items())
    folder.mkdir(parents=True)
    artifact = registry.builder_of(kernel, target).build(
        kernel.lower(workload, chosen, target), target, folder
    )
    tensors = GEMM.inputs(workload, 3)
    for spec in GEMM.signature(workload):
        if spec.output:
            tensors[spec.name] = np.full(spec.shape, -1 if "int" in spec.dtype else np.nan, spec.dtype)
    return artifact, {"workload": workload, "tensors": tensors}


def loaded(tmp_path: Path) -> Executable:
    """Rung 2 at 16 x 16 x 16 on the device at hand, with its tensors."""
    (device,) = CudaDevice.discover()
    artifact, case = built("cuda_shared_tiles", tmp_path / "tuner-a" / "0", "16x16x16", TILE=16, PAD=0)
    executable = device.load(artifact)
    executable.bind(case["tensors"])
    return executable


def is_right(case: dict, found: np.ndarray) -> bool:
    workload, inputs = case["workload"], GEMM.inputs(case["workload"], 3)
    reference = GEMM.reference(workload, inputs)
    share, _ = worst_error({"D": found}, reference, GEMM.tolerance(workload, inputs, reference))
    return share <= 1.0


def test_without_a_driver_there_is_no_device_and_a_reason() -> None:
    if _cuda_facts.missing() is None:
        pytest.skip("there is a driver here")
    assert CudaDevice.discover() == []
    assert "driver" in str(CudaDevice.unavailable())
    needed = dict(CudaDevice.needs())
    assert "580" in str(needed["an NVIDIA driver (libcuda.so.1)"]) and len(needed) == 4
    assert all(how is None or "\n" not in how for how in needed.values())


def test_a_device_describes_itself(fake_gpu: ModuleType) -> None:
    (device,) = CudaDevice.discover()
    assert device.target.name == "cuda:sm_90"
    limit = device.target.limit
    assert (limit("sm_count"), limit("l2_bytes"), limit("clock_hz")) == (4, 2**20, 1.98e9)
    assert limit("bandwidth_bytes_per_s") == pytest.approx(3352e9, rel=1e-3)
    # The white paper's peak is of 132 SMs.
    assert limit("peak_flops_f32") == pytest.approx(66.9e12 * 4 / 132, rel=1e-6)
    # As in the described target: what kernels derive from a count, such as threads = warps * warp_size, is a
    # macro, and an array of 128.0 elements does not compile.
    described = registry.target("cuda:sm_90").limits
    assert [n for n, v in described.items() if isinstance(v, int) and not isinstance(limit(n), int)] == []
    facts = device.facts()
    assert facts["model"] == "Fake H100" and facts["driver_cuda"] == "13.0" and len(facts["uuid"]) == 32
    json.dumps(facts)


def test_the_identity_is_the_same_everywhere_and_not_of_one_board(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = CudaDevice.discover()
    again = pickle.loads(pickle.dumps(device))
    assert again.fingerprint == device.fingerprint and again.facts() == device.facts()
    assert not fake_gpu.machine.opened, "describing a device opens no context: CUDA does not survive a fork"
    monkeypatch.setenv("FAKE_GPU", '{"name": "Other"}')
    _cuda_facts.devices.cache_clear()
    assert CudaDevice.discover()[0].fingerprint != device.fingerprint


@pytest.mark.parametrize(
    ("capability", "arch"),
    [((7, 5), "sm_75"), ((8, 0), "sm_80"), ((8, 7), "sm_86"), ((8, 9), "sm_89"), ((9, 0), "sm_90"),
     ((10, 0), "sm_100"), ((10, 3), "sm_103"), ((12, 0), "sm_120"), ((12, 1), "sm_120"), ((7, 0), None),
     ((11, 0), None)],
)  # fmt: skip
def test_a_capability_runs_the_code_of_its_target(capability: tuple[int, int], arch: str | None) -> None:
    assert _cuda_facts.arch_of_capability(capability) == arch


def test_an_unknown_capability_is_named(fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU", '{"capability": [11, 0], "name": "Thor"}')
    assert CudaDevice.discover() == []
    reason = str(CudaDevice.unavailable())
    assert "Thor" in reason and "11.0" in reason and "cuda:sm_90" in reason


@pytest.mark.parametrize(
    ("capability", "target", "wrong"),
    [("[9, 0]", "cuda:sm_90a", "cuda:sm_100a"), ("[10, 3]", "cuda:sm_103a", "cuda:sm_100a"),
     ("[12, 1]", "cuda:sm_120", "cuda:sm_120a")],
)  # fmt: skip
def test_a_letter_asks_for_code_that_runs_on_this_capability_only(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capability: str, target: str, wrong: str
) -> None:
    monkeypatch.setenv("FAKE_GPU", f'{{"capability": {capability}}}')
    asked, usual = find_device(target=target), find_device(target="cuda")
    assert asked.target.name == target and usual.target.name == target.removesuffix("a")
    assert asked.fingerprint == usual.fingerprint, "one board, whatever is built for it"
    assert pickle.loads(pickle.dumps(asked)).target == asked.target
    with pytest.raises(Unavailable, match=f"no device for {wrong}"):
        find_device(target=wrong)


def test_a_kernel_for_one_capability_serves_a_device_of_it_without_being_asked(
    fake_gpu: ModuleType, tmp_path: Path
) -> None:
    (device,) = CudaDevice.discover()
    kernel, operator = registry.kernel("cuda_wgmma"), registry.operator("gemm")
    workload = operator.workload("f16", m=256, n=256, k=256)
    assert device.target.name == "cuda:sm_90" and kernel.unsupported(workload, device.target) is None
    (facts,), _ = _cuda_facts.devices()
    later = _cuda_facts.target_of(replace(facts, capability=(9, 1)))
    assert later.name == "cuda:sm_90"
    assert kernel.unsupported(workload, later) == "cuda:sm_90 lacks wgmma"
    if registry.builder("nvrtc").unavailable():
        return
    source = kernel.lower(workload, kernel.space(workload, device.target).at(0), device.target)
    artifact = registry.builder_of(kernel, device.target).build(source, device.target, tmp_path)
    assert artifact.metrics["loop_group_tensor"] > 0 and not artifact.metrics["spill_bytes"]


@pytest.mark.parametrize(
    ("kernel", "config"),
    [("cuda_shared_tiles", {"TILE": 16, "PAD": 1}), ("cuda_double_buffered", {"STAGES": 3, "ASYNC": 1})],
)
def test_a_cubin_runs_right_and_leaves_no_damage(
    fake_gpu: ModuleType, tmp_path: Path, kernel: str, config: dict[str, int]
) -> None:
    (device,) = CudaDevice.discover()
    artifact, case = built(kernel, tmp_path / "tuner-a" / "0", "37x29x53", **config)
    device.prepare(1)
    executable = device.load(artifact)
    executable.bind(case["tensors"])
    executable.run()
    assert is_right(case, executable.read("D"))
    assert executable.damage() is None
    assert np.array_equal(executable.read("A"), case["tensors"]["A"])
    # Bound again, the same memory takes new values.
    executable.bind({**case["tensors"], "A": 0 * case["tensors"]["A"]})
    executable.run()
    assert not executable.read("D").any()


def test_split_k_keeps_its_workspaces_from_call_to_call(fake_gpu: ModuleType, tmp_path: Path) -> None:
    (device,) = CudaDevice.discover()
    config = {"SPLIT": 2, "STREAM_K": 0, "BM": 8, "BN": 32, "STAGES": 2}
    artifact, case = built("cuda_split_k", tmp_path / "tuner-a" / "0", "16x64x128", **config)
    assert {a.kind for a in artifact.arguments} >= {"workspace", "tensor", "int32"}
    executable = device.load(artifact)
    executable.bind(case["tensors"])
    for _ in range(3):
        executable.run()
    assert is_right(case, executable.read("D")) and executable.damage() is None


def test_stray_writes_are_found_with_the_tensor_and_the_distance(
    fake_gpu: ModuleType, tmp_path: Path
) -> None:
    executable = loaded(tmp_path)
    executable.run()
    region = executable._regions["B"]  # type: ignore[attr-defined]
    fake_gpu._set(region.address + region.size + 96, 7, 4, 1)
    assert "B: 4 bytes changed behind the tensor, the nearest 96 bytes away" in str(executable.damage())


def test_a_sample_is_the_gpus_time_and_not_the_hosts(fake_gpu: ModuleType, tmp_path: Path) -> None:
    executable = loaded(tmp_path)
    executable.run()
    # One block of 256 threads: 5.256 us on the GPU. Queueing takes the host 3 us a call: without the hold a
    # first call would be timed from when the event passed, not from when the kernel began.
    assert executable.sample(40) == pytest.approx(5.256e-6, rel=1e-6)
    assert executable.sample(600) == pytest.approx(5.256e-6, rel=1e-6), "more calls than the queue holds"
    assert "tuner_hold" in fake_gpu.machine.launches
    # Of the samples themselves: the readings before and after are of an idle GPU.
    assert executable.metrics()["sm_clock_hz_during"] == 1755e6


def test_a_slow_host_gets_a_longer_hold(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = loaded(tmp_path)
    monkeypatch.setattr(fake_gpu, "QUEUE_NS", 50_000)
    assert executable.sample(50) == pytest.approx(5.256e-6, rel=1e-6)
    assert "late_samples" not in executable.metrics(), "timed again, with a hold of what queueing takes"
    monkeypatch.setattr(fake_gpu, "QUEUE_NS", 5_000_000)
    executable.sample(50)
    assert executable.metrics()["late_samples"] >= 1
    # A host that is quick again is not held for as long ever after.
    monkeypatch.setattr(fake_gpu, "QUEUE_NS", 3_000)
    for _ in range(12):
        executable.sample(50)
    before = fake_gpu.machine.host_ns
    assert executable.sample(50) == pytest.approx(5.256e-6, rel=1e-6)
    assert fake_gpu.machine.host_ns - before < 3_000_000


def test_cold_calls_follow_a_write_of_twice_the_l2_cache(fake_gpu: ModuleType) -> None:
    (device,) = CudaDevice.discover()
    device.prepare(1)
    before = set(fake_gpu.machine.memory)
    device.flush()
    (fresh,) = set(fake_gpu.machine.memory) - before
    assert fake_gpu.machine.memory[fresh].size >= 2 * 2**20


def test_shared_memory_beyond_48_kib_is_opted_in_to(fake_gpu: ModuleType, tmp_path: Path) -> None:
    (device,) = CudaDevice.discover()
    config = {"BM": 128, "BN": 128, "BK": 32, "STAGES": 3}
    artifact, case = built("cuda_double_buffered", tmp_path / "tuner-a" / "0", "64x64x64", **config)
    assert artifact.launch is not None and artifact.launch.shared_bytes > 48 * 1024
    executable = device.load(artifact)
    executable.bind(case["tensors"])
    executable.run()
    assert is_right(case, executable.read("D"))


def test_no_memory_is_no_crash(fake_gpu: ModuleType) -> None:
    from tuner.devices.cuda.memory import Region

    with pytest.raises(MemoryError, match="device memory"):
        Region(fake_gpu.runtime, fake_gpu.Stream(), 2**40)


def test_limits_and_calibration_are_taken(fake_gpu: ModuleType) -> None:
    (device,) = CudaDevice.discover()
    device.prepare(1)
    assert device.calibrate() == pytest.approx(1e-3)
    limits = device.measure_limits()
    assert limits["peak_flops_f32"] > 0 and limits["bandwidth_bytes_per_s"] > 0


def test_readings_of_nvml_mark_a_throttled_sample(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = CudaDevice.discover()
    free = device.state()
    assert (free["sm_clock_hz"], free["temperature_c"], free["power_w"]) == (1755e6, 41, 350)
    assert device.conditions(free, free)["throttled"] == 0
    monkeypatch.setenv("FAKE_GPU", '{"throttle": 4}')
    hot = device.state()
    found = device.conditions(free, hot)
    assert (
        found["throttled"] == 1
        and found["throttle_reasons_after"] == 4
        and found["throttle_reasons_before"] == 0
    )
    # Idle, and clocks that somebody set, are no throttling; time spent throttled in between is.
    monkeypatch.setenv("FAKE_GPU", '{"throttle": 3}')
    assert device.conditions(free, device.state())["throttled"] == 0
    assert between({"violation_s": 1.0}, {"violation_s": 1.2})["throttled"] == 1


@pytest.mark.parametrize(
    ("shape", "dtype", "kernel"),
    [("12x20x28", "f32", "cublas"),
     ("m12 n20 k28 trans_a alpha=0.5 beta=2 bias relu", "f32", "cublas"),
     ("m5 n7 k9 batch=3 trans_b", "f32", "cublas"),
     ("m12 n20 k28 trans_a trans_b beta=1 relu", "f16", "cublas"),
     ("m12 n20 k28 alpha=2 beta=1 bias", "int8", "cublas"),
     ("m12 n20 k28 bias", "tf32", "cublas"),
     ("m12 n20 k28 alpha=2 beta=1 bias", "int8", "cublas_transposed_b"),
     ("m12 n20 k28 batch=3", "int8", "cublas_transposed_b")],
)  # fmt: skip
def test_cublas_is_called_as_the_operator_is_defined(
    fake_gpu: ModuleType, tmp_path: Path, shape: str, dtype: str, kernel: str
) -> None:
    artifact, case = built(kernel, tmp_path / "tuner-a" / "0", shape, dtype)
    (device,) = CudaDevice.discover()
    executable = device.load(artifact)
    executable.bind(case["tensors"])
    for _ in range(2):
        executable.run()
    assert is_right(case, executable.read("D")) and executable.damage() is None
    assert executable.sample(3) > 0


def test_cublas_says_what_it_cannot() -> None:
    from tuner.targets.cuda import target

    kernel = registry.kernel("cublas")
    assert "round" in str(kernel.unsupported(GEMM.parse("m8 n8 k8 bias", "f16"), target("cuda:sm_80")))
    assert "4" in str(kernel.unsupported(GEMM.parse("8x8x9", "int8"), target("cuda:sm_80")))
    assert kernel.unsupported(GEMM.parse("8x8x8", "int8"), target("cuda:sm_80")) is None
    turned = registry.kernel("cublas_transposed_b")
    for shape, why in (("m8 n8 k8 trans_b", "is cublas"), ("m8 n8 k8 trans_a", "as it lies")):
        assert why in str(turned.unsupported(GEMM.parse(shape, "int8"), target("cuda:sm_80")))


def test_the_labs_own_kernels_are_ptx_that_assembles(tmp_path: Path) -> None:
    triton = pytest.importorskip("triton", reason="its wheel carries ptxas")
    from tuner.devices.cuda.context import KERNELS

    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    for arch in ("sm_75", "sm_90", "sm_100"):
        command = [str(ptxas), f"-arch={arch}", "-v", str(KERNELS), "-o", str(tmp_path / "x.cubin")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "tuner_hold" in done.stderr and "tuner_fma" in done.stderr
        assert "0 bytes spill stores" in done.stderr
    from tuner.builders.cuda import sass

    code = sass.disassemble(tmp_path / "x.cubin")
    # Sixteen chains, four steps a round: the loop was neither folded nor dropped.
    assert code.count("FFMA") >= 64


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["cuda_shared_tiles", "cuda_split_k", "triton", "tir_cuda", "cublas"])
def test_on_a_gpu_every_way_to_a_cubin_runs_right(tmp_path: Path, kernel: str) -> None:
    """In a process of its own: this one must stay able to fork."""
    if kernel == "tir_cuda" and find_spec("tvm") is None:
        pytest.skip("TVM is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "sweep", "gemm", "--shape", "123x77x89", "--device", "cuda:0",
         "--kernel", kernel, "--no-baselines", "--rounds", "0", "--trials", "3", "--json",
         "--db", str(tmp_path / "gpu.db")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = json.loads(done.stdout)["sweeps"].values()
    assert sweep["best"]["evidence"] == "measured" and sweep["best"]["time_s"] > 0


def test_several_kernels_are_one_call(fake_gpu: ModuleType, tmp_path: Path) -> None:
    text = """
extern "C" __global__ void doubled(const float* a, float* kept) { kept[threadIdx.x] = 2.0f * a[threadIdx.x]; }
extern "C" __global__ void added(const float* a, float* c, const float* kept) {
  c[threadIdx.x] = a[threadIdx.x] + kept[31 - threadIdx.x];
}
"""
    kept, launch = Argument("kept", "workspace", 128), Launch((1, 1, 1), (32, 1, 1))
    before = (KernelStep("doubled", (Argument("a"), kept), launch),)
    source = Source(
        "nvrtc", text, "added", (Argument("a"), Argument("c"), kept), launch=launch, before=before
    )
    (device,) = CudaDevice.discover()
    folder = tmp_path / "tuner-a" / "0"
    folder.mkdir(parents=True)
    artifact = registry.builder("nvrtc").build(source, device.target, folder)
    assert [set(step.metrics) >= {"registers", "spill_bytes"} for step in artifact.steps] == [True, True]
    travelled = artifact_from_plain(json.loads(json.dumps(artifact_to_plain(artifact))))
    assert travelled == artifact
    executable = device.load(travelled)
    a = np.arange(32, dtype=np.float32)
    executable.bind({"a": a, "c": np.full(32, np.nan, np.float32)})
    fake_gpu.machine.launches.clear()
    executable.run()
    np.testing.assert_array_equal(executable.read("c"), a + 2 * a[::-1])
    assert [name for name in fake_gpu.machine.launches if name != "tuner_hold"] == ["doubled", "added"]
    fake_gpu.machine.launches.clear()
    assert executable.sample(600) > 0
    queued = "".join("h" if name == "tuner_hold" else "k" for name in fake_gpu.machine.launches).split("h")
    # A GPU's queue holds about a thousand launches; a sample that fills it would time the host.
    assert max(map(len, queued)) <= 256 and sum(map(len, queued)) >= 1200
    assert executable.damage() is None
