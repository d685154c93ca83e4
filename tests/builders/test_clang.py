"""The C++ kernels are not for GCC alone. Without clang++ on PATH this is skipped."""

import random
import shutil
from pathlib import Path

import pytest

from tuner import registry
from tuner.builders.host.cxx import _include_flags, wrapper
from tuner.core.host_cxx import KERNEL_FLAGS, isa_flags, run_compiler
from tuner.devices.cpu.device import CpuDevice, named_targets

CLANG = shutil.which("clang++")
if CLANG is None:
    pytest.skip("no clang++ on PATH", allow_module_level=True)
SHAPES = {
    "gemm": ("64x96x32",),
    "conv2d": ("n1 c32 h7 w7 k32 r3 s3 pad=1", "n1 c32 h7 w7 k32 r3 s3 pad=1 groups=32"),
    "attention": ("1x2x64x64x32",),
}
KERNELS = [
    (kernel.name, dtype)
    for operator in SHAPES
    for kernel in registry.kernels_of(operator, "cpu")
    for dtype in kernel.dtypes
    if kernel.language == "cxx"
]


@pytest.mark.parametrize("arch", ["here", "cpu:avx512", "cpu:avx2", "cpu:x86_64"])
@pytest.mark.parametrize(("name", "dtype"), KERNELS)
def test_clang_accepts_every_kernel(name: str, dtype: str, arch: str, tmp_path: Path) -> None:
    assert CLANG is not None
    target = CpuDevice().target if arch == "here" else named_targets()[arch]
    kernel = registry.kernel(name)
    operator = registry.operator(kernel.operator)
    workloads = [operator.parse(shape, dtype) for shape in SHAPES[kernel.operator]]
    workload = next((w for w in workloads if kernel.unsupported(w, target) is None), None)
    if workload is None:
        pytest.skip(f"{name} does not serve {dtype} on {arch}")
    space, rng = kernel.space(workload, target), random.Random(name)
    # With one thread no OpenMP is needed, which many a clang comes without.
    drawn = [space.sample(rng) for _ in range(200)]
    alone = [c for c in drawn if c.get("threads", 1) == 1][:1]
    assert alone
    for config in alone:
        source = kernel.lower(workload, config, target)
        (tmp_path / "kernel.cpp").write_text(f"{source.text}\n{wrapper(source.entry, source.arguments)}")
        flags = [*KERNEL_FLAGS, *isa_flags((CLANG,), target.features), *_include_flags(source.options)]
        code, output = run_compiler([CLANG, *flags, "-S", "kernel.cpp", "-o", "kernel.s"], tmp_path)
        assert code == 0, f"{config}: {output}"
