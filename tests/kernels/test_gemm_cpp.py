"""The C++ GEMM ladder: right for every option, shape and configuration, and never outside its tensors."""

import random
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.running import Run
from tuner import registry
from tuner.builders.host.cxx import CxxBuilder
from tuner.core.activations import OF_PRODUCTS
from tuner.core.host_cxx import require_compiler
from tuner.core.places import CUDA_SRC
from tuner.core.source_kernel import SourceKernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

GEMM = registry.operator("gemm")
KERNELS = ("cpp_naive", "cpp_tiled", "cpp_register", "cpp_packed")
# Shapes to tune for: the constraints make other configurations valid for each.
TUNED = ((1024, 1024, 1024), (1, 512, 300), (5, 2000, 64), (64, 64, 64), (300, 1, 900), (2000, 9, 700))
# Shapes to run: single elements, vectors, smaller than any tile, straddling blocks of every size.
RUN = ((1, 1, 1), (1, 67, 131), (83, 1, 19), (5, 3, 2), (37, 29, 53), (130, 200, 270), (7, 300, 40))
BASE: Config = {
    "MR": 6, "NR": 32, "MC": 32, "NC": 128, "KC": 128, "OUTER": "n", "INNER": "n", "PACK_A": True,
    "PACK_B": True, "UNROLL": 2, "PREFETCH": 8, "PREFETCH_NEXT": "l2", "PREFETCH_D": True, "HUGE_PAGES": True,
    "threads": 2, "SPLIT_N": 1, "TOGETHER": True,
}  # fmt: skip


def target(name: str) -> Target:
    """A named target with two cores."""
    described = named_targets()[name]
    return replace(described, limits={**described.limits, "cores": 2})


def runnable(described: Target) -> Target:
    if not set(described.features) <= set(CpuDevice().target.features):
        pytest.skip(f"this machine lacks instructions of {described.name}")
    return described


def options(rng: random.Random) -> dict[str, object]:
    return {
        "batch": rng.choice([1, 1, 2, 3]),
        "trans_a": rng.random() < 0.5,
        "trans_b": rng.random() < 0.5,
        "alpha": rng.choice([1.0, 0.5, -1.25]),
        "beta": rng.choice([0.0, 0.0, 1.0, 0.75]),
        "bias": rng.random() < 0.5,
        rng.choice(("relu", "relu", *OF_PRODUCTS)): rng.random() < 0.7,
    }


def kernel_of(name: str) -> SourceKernel:
    found = registry.kernel(name)
    assert isinstance(found, SourceKernel)
    return found


CASES = [
    ("cpp_naive", "f32", 1),
    ("cpp_naive", "f16", 1),
    ("cpp_naive", "int8", 1),
    ("cpp_naive", "bf16", 1),
    ("cpp_tiled", "f32", 2),
    ("cpp_register", "f32", 2),
    ("cpp_packed", "f32", 4),
    ("cpp_packed", "f16", 1),
    ("cpp_packed", "int8", 1),
    ("cpp_packed", "bf16", 1),
    ("cpp_ahead", "f32", 2),
    ("cpp_ahead", "f16", 1),
    ("cpp_ahead", "int8", 1),
    ("cpp_ahead", "bf16", 1),
    ("cpp_few_rows", "f32", 2),
    ("cpp_few_rows", "bf16", 2),
]


def test_every_kernel_and_dtype_is_tried() -> None:
    declared = {
        (kernel.name, dtype)
        for kernel in registry.kernels_of("gemm", "cpu")
        for dtype in kernel.dtypes
        if kernel.language == "cxx" and not kernel.requires  # test_amx.py tries the others
    }
    assert declared == {(name, dtype) for name, dtype, _ in CASES}


def try_random_configurations(
    name: str, dtype: str, aim: Target, count: int, seed: str, folder: Path
) -> None:
    kernel, rng = kernel_of(name), random.Random(f"{name} {dtype} {aim.name} {seed}")
    few = name == "cpp_few_rows"
    tuned = [shape for shape in TUNED if shape[0] <= 96] if few else TUNED
    for i in range(count):
        m, n, k = tuned[i % len(tuned)]
        chosen = {**options(rng), **({"trans_a": False, "trans_b": True} if few else {})}
        if kernel.only_frozen:
            chosen["frozen"] = True
        if dtype == "int8":  # exact: alpha and beta are integers
            chosen = {name: value for name, value in chosen.items() if name not in OF_PRODUCTS}
            chosen.update(alpha=rng.choice([1.0, -3.0]), beta=rng.choice([0.0, 2.0]))
            if i % 2:
                chosen.update(
                    {rng.choice(["scale_tensor", "scale_channel"]): True, "zero_points": i % 4 == 1}
                )
        workload = GEMM.workload(dtype, m=m, n=n, k=k, **chosen)
        config = kernel.space(workload, aim).sample(rng)
        run = Run(kernel, workload, config, aim, folder / str(i))
        for shape in RUN:
            at = GEMM.workload(dtype, **dict(zip("mnk", shape, strict=True)), **chosen)
            error, where = run.error(at, seed=i)
            assert error <= 1, where


@pytest.mark.parametrize("aim_name", ["cpu:x86_64", "cpu:avx2", "cpu:avx512"])
@pytest.mark.parametrize(("name", "dtype", "count"), CASES)
@pytest.mark.sampled(1, each=("name", "dtype"))
def test_random_configurations_are_right_at_ragged_shapes(
    name: str, dtype: str, count: int, aim_name: str, tmp_path: Path
) -> None:
    aim = runnable(target(aim_name))
    try_random_configurations(name, dtype, aim, 1 if aim_name == "cpu:x86_64" else count, "quick", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("aim_name", ["cpu:avx2", "cpu:avx512"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
def test_many_random_configurations_of_the_packed_kernel(dtype: str, aim_name: str, tmp_path: Path) -> None:
    try_random_configurations("cpp_packed", dtype, runnable(target(aim_name)), 60, "slow", tmp_path)


def test_many_threads_on_few_tiles(tmp_path: Path) -> None:
    """Grids wider than the matrix, threads with nothing to do, batches that do not divide."""
    aim, kernel = runnable(target("cpu:avx2")), kernel_of("cpp_packed")
    aim = replace(aim, limits={**aim.limits, "cores": 8})
    for split, pack, inner in ((1, True, "n"), (2, False, "n"), (4, True, "m"), (8, True, "n")):
        config = {**BASE, "NR": 16, "threads": 8, "SPLIT_N": split, "PACK_A": pack, "INNER": inner}
        workload = GEMM.workload("f32", m=200, n=200, k=200)
        run = Run(kernel, workload, kernel.space(workload, aim).check(config), aim, tmp_path / f"{split}")
        for m, n, batch in ((1, 1, 1), (3, 500, 1), (500, 3, 1), (40, 40, 11), (129, 65, 2)):
            at = GEMM.workload("f32", m=m, n=n, k=150, batch=batch)
            error, where = run.error(at)
            assert error <= 1, where


@pytest.mark.parametrize(("aim_name", "nr", "mr"), [("cpu:avx2", 24, 4), ("cpu:avx512", 48, 8)])
def test_an_edge_of_every_width_and_height(aim_name: str, nr: int, mr: int, tmp_path: Path) -> None:
    """What a mask lets through is read and stored, nothing beside it; rows computed twice are stored once."""
    aim, kernel = runnable(target(aim_name)), kernel_of("cpp_packed")
    chosen = {"beta": 1.0, "bias": True}
    tuned = GEMM.workload("f32", m=200, n=200, k=200, **chosen)
    config = {**BASE, "NR": nr, "MR": mr, "PACK_A": False, "PACK_B": False, "TOGETHER": True}
    run = Run(kernel, tuned, kernel.space(tuned, aim).check(config), aim, tmp_path)
    for n in range(nr + 1, 2 * nr + 1):
        at = GEMM.workload("f32", m=mr + n % mr, n=n, k=130 if n % 2 else 9, **chosen)
        error, where = run.error(at)
        assert error <= 1, where


def test_a_kernel_that_skips_one_step_of_k_fails(tmp_path: Path) -> None:
    aim, honest = CpuDevice().target, kernel_of("cpp_naive")
    found = honest.text.replace("../common/", f"{CUDA_SRC}/common/")  # the copy lies elsewhere
    text = found.replace("p < k;", "p < k - 1;")
    assert text != found
    planted = tmp_path / "planted.cpp"
    planted.write_text(text)
    kernel = registry.source_kernel(planted)
    for k in (2, 64, 1024):
        workload = GEMM.workload("f32", m=20, n=20, k=k)
        assert Run(kernel, workload, {}, aim, tmp_path / str(k)).error(workload)[0] > 1
        assert Run(honest, workload, {}, aim, tmp_path / f"honest{k}").error(workload)[0] <= 1


def test_nan_in_the_inputs_reaches_the_output(tmp_path: Path) -> None:
    """ReLU by a maximum, or an edge tile that multiplies padding by NaN, would hide or spread it."""
    aim, kernel = runnable(target("cpu:avx2")), kernel_of("cpp_packed")
    config = {**BASE, "NR": 16}
    workload = GEMM.workload("f32", m=13, n=37, k=50, relu=True)
    artifact = Run(kernel, workload, config, aim, tmp_path / "nan").artifact
    a, b = np.ones((13, 50), np.float32), np.ones((50, 37), np.float32)
    a[12, 3], b[7, 36] = np.nan, np.nan
    d = np.zeros((13, 37), np.float32)
    executable = CpuDevice().load(artifact)
    executable.bind({"A": a, "B": b, "D": d})
    executable.run()
    wrong = np.isnan(d)
    assert wrong[12].all() and wrong[:, 36].all()
    assert not wrong[:12, :36].any()


def test_buffers_are_given_back_when_their_thread_ends(tmp_path: Path) -> None:
    aim, kernel = runnable(target("cpu:avx2")), kernel_of("cpp_packed")
    config = {**BASE, "NR": 16, "KC": 256, "NC": 4096, "MC": 32, "INNER": "m", "threads": 1}
    workload = GEMM.workload("f32", m=7, n=4096, k=256)
    artifact = Run(kernel, workload, config, aim, tmp_path / "threads").artifact
    inputs = GEMM.inputs(workload, 0)
    expected = GEMM.reference(workload, inputs)["D"]

    def call() -> None:
        executable = CpuDevice().load(artifact)
        output = np.zeros((7, 4096), np.float32)
        executable.bind({**inputs, "D": output})
        executable.run()
        np.testing.assert_allclose(output, expected, atol=1e-3)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def in_threads(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

    in_threads(3)
    before = resident()
    in_threads(40)
    # 4 MiB of packed B a thread: 40 leaks would be 160 MiB.
    assert resident() - before < 40 * 2**20


_SANITIZED_MAIN = r"""
#include <cstdio>
#include <cstdlib>
#include <cmath>
int main() {
    const int64_t shapes[][4] = {{1, 1, 1, 1}, {1, 67, 131, 1}, {83, 1, 19, 2}, {5, 3, 2, 3}, {37, 29, 53, 1},
                                 {13, 66, 140, 2}, {130, 70, 150, 1}, {33, 260, 17, 1}};
    for (auto& s : shapes) {
        int64_t m = s[0], n = s[1], k = s[2], batch = s[3];
        // Exactly as large as the tensors: the sanitizer sees the first byte beyond.
        float *A = new float[batch * m * k], *B = new float[batch * k * n], *C = new float[batch * m * n];
        float *bias = new float[n], *D = new float[batch * m * n];
        unsigned state = 1;
        auto next = [&] { return float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 23) - 1; };
        for (int64_t i = 0; i < batch * m * k; ++i) A[i] = next();
        for (int64_t i = 0; i < batch * k * n; ++i) B[i] = next();
        for (int64_t i = 0; i < batch * m * n; ++i) C[i] = next(), D[i] = NAN;
        for (int64_t i = 0; i < n; ++i) bias[i] = next();
        gemm(A, B, OPT_BETA != 0 ? C : nullptr, OPT_BIAS ? bias : nullptr, D, m, n, k, batch,
             OPT_ALPHA, OPT_BETA);
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t i = 0; i < m; ++i)
                for (int64_t j = 0; j < n; ++j) {
                    double sum = 0;
                    for (int64_t p = 0; p < k; ++p)
                        sum += double(A[b * m * k + (OPT_TRANS_A ? p * m + i : i * k + p)]) *
                               B[b * k * n + (OPT_TRANS_B ? j * k + p : p * n + j)];
                    sum = OPT_ALPHA * sum + (OPT_BETA != 0 ? OPT_BETA * C[(b * m + i) * n + j] : 0);
                    if (OPT_BIAS) sum += bias[j];
                    if (OPT_RELU && sum < 0) sum = 0;
                    if (!(fabs(D[(b * m + i) * n + j] - sum) < 1e-3)) {
                        printf("wrong at %ld %ld %ld\n", long(b), long(i), long(j));
                        return 1;
                    }
                }
        delete[] A, delete[] B, delete[] C, delete[] bias, delete[] D;
    }
    puts("clean");
}
"""


@pytest.mark.parametrize(
    ("name", "choice", "chosen"),
    [
        ("cpp_naive", {}, {"trans_b": True, "beta": 1.0}),
        ("cpp_tiled", {"TILE_M": 8, "TILE_N": 32, "TILE_K": 16, "threads": 2}, {"bias": True}),
        ("cpp_register", {"MR": 6, "NR": 16, "KC": 32, "STRIP": 2, "threads": 2}, {"trans_a": True}),
        ("cpp_packed", {**BASE, "NR": 16}, {"beta": 0.5, "bias": True, "alpha": 0.5}),
        ("cpp_packed", {**BASE, "NR": 16, "OUTER": "m", "INNER": "m"}, {"trans_a": True, "trans_b": True}),
        ("cpp_packed", {**BASE, "NR": 16, "PACK_A": False, "SPLIT_N": 2}, {"trans_b": True, "relu": True}),
        ("cpp_packed", {**BASE, "NR": 24, "MR": 4, "PACK_A": False, "PACK_B": False}, {"trans_a": True}),
        ("cpp_packed", {**BASE, "NR": 16, "PACK_B": False, "INNER": "m", "NC": 64}, {"bias": True}),
    ],
)  # fmt: skip
@pytest.mark.sampled(5)
def test_no_access_outside_the_tensors(name: str, choice: Config, chosen: dict, tmp_path: Path) -> None:
    aim, kernel = runnable(target("cpu:avx2")), kernel_of(name)
    workload = GEMM.workload("f32", m=200, n=200, k=200, **chosen)
    source = kernel.lower(workload, choice, aim)
    program = tmp_path / "program.cpp"
    program.write_text(source.text + _SANITIZED_MAIN)
    flags = [f for f in CxxBuilder().toolchain(aim).flags if f not in ("-O3", "-fPIC")]
    folder = str(source.options["include"])
    command = [*require_compiler(), *flags, "-O1", "-fsanitize=address,undefined",
               "-fno-sanitize-recover=all", f"-I{folder}", str(program), "-o",
               str(tmp_path / "program")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([str(tmp_path / "program")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "clean"), done.stderr[:2000]


def test_the_space_is_large_and_holds_the_configurations_known_to_be_good() -> None:
    kernel, cpu = kernel_of("cpp_packed"), named_targets()["cpu:avx512"]
    server = replace(cpu, limits={**cpu.limits, "l1d_bytes": 48 * 1024, "l2_bytes": 2**20, "cores": 2})
    space = kernel.space(GEMM.workload("f32", m=1024, n=1024, k=1024), server)
    assert space.exact and (space.size or 0) > 10_000
    good = {
        **BASE,
        "MR": 6,
        "NR": 64,
        "NC": 128,
        "KC": 1024,
        "PACK_A": False,
        "PREFETCH": 0,
        "PREFETCH_D": False,
    }
    for split in (1, 2):
        assert space.why_invalid({**good, "SPLIT_N": split}) is None
    assert space.why_invalid({**good, "MR": 14}) is not None  # 14 x 4 sums do not fit 32 registers


@pytest.mark.parametrize("option", OF_PRODUCTS)
def test_every_kernel_in_cpp_cuda_and_triton_takes_activations(option: str) -> None:
    found = [kernel for kind in ("cpu", "cuda") for kernel in registry.kernels_of("gemm", kind)]
    ours = [kernel for kernel in found if kernel.language in ("cxx", "nvrtc", "triton")]
    assert {kernel.language for kernel in ours} == {"cxx", "nvrtc", "triton"}
    for kernel in ours:
        assert option in kernel.options or set(kernel.dtypes) == {"int8"}, kernel.name
