"""The CPU device: it describes this machine truthfully, and runs what it is given."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuner.builders.host.cxx import CxxBuilder
from tuner.core.cache import is_whole
from tuner.core.device import Executable
from tuner.core.errors import Unavailable
from tuner.core.kernel import Argument, Source
from tuner.devices.cpu import dots, info
from tuner.devices.cpu.device import CpuDevice, named_targets
from tuner.targets import cpu as targets


def python(code: str, **environment: str) -> str:
    """What a fresh Python prints: pinning and OpenMP settings stay out of the test process."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def load(text: str, arguments: tuple[Argument, ...], folder: Path) -> Executable:
    source = Source("cxx", text, "f", arguments)
    return CpuDevice().load(CxxBuilder().build(source, CpuDevice().target, folder))


def test_the_target_describes_this_machine() -> None:
    target = CpuDevice().target
    assert target.kind == "cpu" and target.arch in targets.ARCHES
    assert list(target.features) == sorted(target.features)
    assert set(targets.ARCHES[target.arch][0]) <= set(target.features)
    limits = target.limits
    assert 1 <= limits["cores"] <= len(os.sched_getaffinity(0))
    assert limits["line_bytes"] < limits["l1d_bytes"] <= limits["l2_bytes"] <= limits["l3_bytes"]
    assert limits["l3_bytes"] < limits["memory_bytes"]


def test_peaks_of_a_helper_that_cannot_be_loaded_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cache is on a file system that executes nothing."""
    broken = tmp_path / "dots.so"
    broken.write_bytes(b"")
    monkeypatch.setattr(dots, "compiled", lambda *_: broken)
    assert dots._library.__wrapped__(()) is None


def test_named_targets_state_what_a_real_one_does() -> None:
    assert {"cpu:avx2", "cpu:avx512", "cpu:x86_64", "cpu:neon"} <= named_targets().keys()
    for name, target in named_targets().items():
        assert target.name == name
        assert target.limits.keys() == CpuDevice().target.limits.keys()
    assert named_targets()["cpu:avx512"].limit("vector_bytes") == 64
    assert named_targets()["cpu:avx2"].limit("vector_registers") == 16


@pytest.mark.parametrize(
    ("flags", "machine", "arch"),
    [
        # As /proc/cpuinfo has them: Haswell, Skylake-X, Core 2, Graviton.
        ("sse sse2 pni ssse3 sse4_1 sse4_2 movbe popcnt avx f16c fma abm bmi1 avx2 bmi2", "x86_64", "avx2"),
        (
            "sse sse2 pni ssse3 sse4_1 sse4_2 movbe popcnt avx f16c fma abm bmi1 avx2 bmi2"
            " avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni",
            "x86_64",
            "avx512",
        ),
        ("sse sse2 pni ssse3 sse4_1", "x86_64", "x86_64"),
        ("fp asimd aes crc32 sve", "aarch64", "neon"),
        ("fp", "aarch64", "aarch64"),
    ],
)
def test_the_architecture_follows_from_the_features(flags: str, machine: str, arch: str) -> None:
    features = info.gcc_features(flags)
    assert targets.arch_of(features, machine) == arch
    if "avx512_vnni" in flags:
        assert "avx512vnni" in features and "lzcnt" in features


def test_sizes_as_sysfs_writes_them() -> None:
    assert [info.parse_size(text) for text in ("48K", "32M", "64", "", "?")] == [
        49152,
        2**25,
        64,
        0,
        0,
    ]


def test_the_fingerprint_does_not_depend_on_process_or_pinning() -> None:
    code = (
        "from tuner.devices.cpu.device import CpuDevice; d = CpuDevice(); d.prepare(1);"
        "print(d.fingerprint, CpuDevice().fingerprint)"
    )
    here = CpuDevice().fingerprint
    assert python(code).split() == [here, here]


def test_prepare_pins_as_many_cores_as_threads() -> None:
    code = (
        "import os; from tuner.devices.cpu.device import CpuDevice; d = CpuDevice(); d.prepare(1);"
        "print(sorted(os.sched_getaffinity(0)) == list(d.pinned_cpus) == d.facts()['pinned_cpus'],"
        "len(d.pinned_cpus), os.environ['OMP_NUM_THREADS'])"
    )
    assert python(code, OMP_NUM_THREADS="7").split() == ["True", "1", "1"]
    with pytest.raises(Unavailable, match="4096 threads"):
        CpuDevice().prepare(4096)


def test_openmp_threads_sit_on_the_pinned_cores(tmp_path: Path) -> None:
    cores = int(CpuDevice().target.limit("cores"))
    text = """
    #include <sched.h>
    #include <omp.h>
    extern "C" void f(float* Y) {
        #pragma omp parallel
        Y[omp_get_thread_num()] = sched_getcpu();
    }
    """
    source = Source("cxx", text, "f", (Argument("Y"),))
    artifact = CxxBuilder().build(source, CpuDevice().target, tmp_path)
    code = (
        "import numpy as np, pathlib; from tuner.core.artifact import Artifact, Toolchain;"
        "from tuner.core.kernel import Argument; from tuner.devices.cpu.device import CpuDevice;"
        f"d = CpuDevice(); d.prepare({cores}); y = np.full({cores}, -1, np.float32);"
        f"a = Artifact(pathlib.Path({str(artifact.path)!r}), 'shared_library', {artifact.entry!r},"
        "(Argument('Y'),), '', Toolchain('', ''));"
        "e = d.load(a); e.bind({'Y': y}); e.run();"
        "print(sorted(y.astype(int).tolist()) == sorted(d.pinned_cpus))"
    )
    assert python(code) == "True"


def test_two_processes_compile_the_calibration_kernel_at_once(tmp_path: Path) -> None:
    code = "from tuner.devices.cpu.device import CpuDevice; print(CpuDevice().calibrate() > 0)"
    environment = {**os.environ, "TUNER_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["True", "True"]
    left = [path for path in (tmp_path / "runtime").iterdir() if path.name != ".lock"]
    assert len(left) == 1 and is_whole(left[0]), "one library, and nothing half-written beside it"


def test_limits_are_measured_and_flush_works(monkeypatch: pytest.MonkeyPatch) -> None:
    device = CpuDevice()
    # Arrays four times as large as a cache of hundreds of megabytes take twenty seconds, and tell no more.
    small = replace(device.target, limits={**device.target.limits, "l3_bytes": 2**22})
    monkeypatch.setattr(CpuDevice, "target", property(lambda self: small))
    limits = device.measure_limits()
    assert all(np.isfinite(value) and value > 0 for value in limits.values())
    for suffix in ("", "_core"):
        rates = [limits[f"{kind}_bytes_per_s{suffix}"] for kind in ("read", "copy", "triad")]
        assert limits[f"bandwidth_bytes_per_s{suffix}"] == max(rates)
        assert limits[f"peak_flops_f32{suffix}"] > 0
        for dtype, feature in (("bf16", "amx-bf16"), ("int8", "avx512vnni"), ("f16", "avx512fp16")):
            assert (f"peak_flops_{dtype}{suffix}" in limits) >= (feature in device.target.features)
    device.flush()


def test_what_passes_between_calls_leaves_fresh_arrays_as_they_are() -> None:
    device, rng = CpuDevice(), np.random.default_rng(0)
    fresh = [rng.random(size, np.float32) for size in (1, 31, 4099)]
    copies = [array.copy() for array in fresh]
    device.pass_by(2**20, fresh)
    device.pass_by(2**24, [])
    assert all(np.array_equal(a, b) for a, b in zip(fresh, copies, strict=True))


def test_a_tensor_the_workload_lacks_is_a_null_pointer(tmp_path: Path) -> None:
    executable = load(
        'extern "C" void f(const float* C, float* Y) { Y[0] = C ? C[0] : -1; }',
        (Argument("C"), Argument("Y")),
        tmp_path,
    )
    y = np.zeros(1, dtype=np.float32)
    executable.bind({"Y": y})
    executable.run()
    assert executable.read("Y")[0] == -1
    executable.bind({"Y": y, "C": np.full(1, 5, dtype=np.float32)})
    executable.run()
    assert executable.read("Y")[0] == 5


def test_arrays_that_are_not_contiguous_are_refused(tmp_path: Path) -> None:
    executable = load('extern "C" void f(float* Y) { Y[0] = 1; }', (Argument("Y"),), tmp_path)
    with pytest.raises(ValueError, match="Y is not C-contiguous"):
        executable.bind({"Y": np.zeros((4, 4), dtype=np.float32)[:, 1]})


def test_a_workspace_is_zeroed_once_and_kept(tmp_path: Path) -> None:
    executable = load(
        'extern "C" int f(int* count, float* Y) { Y[0] = ++*count; return (unsigned long)count % 64; }',
        (Argument("count", "workspace", 4), Argument("Y")),
        tmp_path,
    )
    executable.bind({"Y": np.zeros(1, dtype=np.float32)})
    for expected in (1, 2, 3):
        executable.run()
        assert executable.read("Y")[0] == expected


def test_sample_makes_as_many_calls_as_it_is_asked_for(tmp_path: Path) -> None:
    executable = load('extern "C" void f(float* Y) { Y[0] += 1; }', (Argument("Y"),), tmp_path)
    executable.bind({"Y": np.zeros(1, dtype=np.float32)})
    assert executable.sample(25) > 0
    assert executable.read("Y")[0] == 25


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    from tuner.core.artifact import Artifact, Toolchain

    artifact = Artifact(tmp_path, "cubin", "f", (), "", Toolchain("", ""))
    with pytest.raises(RuntimeError, match="format cubin"):
        CpuDevice().load(artifact)
