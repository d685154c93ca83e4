"""Library baselines: right for every option and shape, honest about what is missing and what ran."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.builders.host.python_callable import PythonBuilder
from tuner.core.activations import OF_PRODUCTS
from tuner.core.environment import SCRUBBED, clean_environment
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Kernel
from tuner.core.operator import worst_error
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.callable import load

TARGET = Target("cpu", "avx2", ("avx2", "fma"), {"cores": 2})
NAMES = ("numpy", "torch", "onnxruntime", "jax")
DTYPES = [(name, dtype) for name in NAMES for dtype in registry.kernel(name).dtypes]


def _workloads(count: int, dtype: str) -> list[Workload]:
    rng, gemm = random.Random(11), registry.operator("gemm")
    found = []
    for _ in range(count):
        options = {
            "batch": rng.choice([1, 1, 3]),
            "trans_a": rng.random() < 0.5,
            "trans_b": rng.random() < 0.5,
            "alpha": rng.choice([1.0, 2.0, -3.0] if dtype == "int8" else [1.0, 0.5, -1.25]),
            "beta": rng.choice([0.0, 0.0, 1.0, 2.0 if dtype == "int8" else 0.75]),
            "bias": rng.random() < 0.5,
            "relu": rng.random() < 0.5,
        }
        shape = {d: rng.choice([1, 2, 7, 16, 33, 64, 129]) for d in ("m", "n", "k")}
        found.append(gemm.workload(dtype, **shape, **options))
    return found


@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_agrees_with_the_reference_and_leaves_its_inputs(name: str, dtype: str, tmp_path: Path) -> None:
    kernel = registry.kernel(name)
    if reason := kernel.unavailable():
        pytest.skip(reason)
    served = [w for w in _workloads(60, dtype) if kernel.unsupported(w, TARGET) is None]
    assert len(served) >= 5 and (dtype != "f32" or len(served) == 60)
    for i, workload in enumerate(served):
        _judge(kernel, workload, i, tmp_path / str(i))


def _judge(kernel: Kernel, workload: Workload, seed: int, folder: Path) -> None:
    gemm = registry.operator("gemm")
    folder.mkdir()
    executable = load(PythonBuilder().build(kernel.lower(workload, {}, TARGET), TARGET, folder), 2)
    inputs = gemm.inputs(workload, seed=seed)
    before = {key: value.copy() for key, value in inputs.items()}
    output = {s.name: np.full(s.shape, np.nan, s.dtype) for s in gemm.signature(workload) if s.output}
    executable.bind({**inputs, **output})
    for _ in range(2):  # a second call must not build on the first one's output
        executable.run()
    assert executable.sample(2) > 0
    reference = gemm.reference(workload, inputs)
    tolerance = gemm.tolerance(workload, inputs, reference)
    error, where = worst_error({"D": executable.read("D")}, reference, tolerance)
    assert error <= 1.0, f"{workload.key}: {where}"
    assert executable.read("D") is output["D"]
    assert all(np.array_equal(inputs[key], before[key]) for key in inputs), workload.key


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
@pytest.mark.parametrize("activation", OF_PRODUCTS)
def test_activations_agree_with_the_reference(name: str, activation: str, tmp_path: Path) -> None:
    kernel = registry.kernel(name)
    if reason := kernel.unavailable():
        pytest.skip(reason)
    for i, options in enumerate(({}, {"bias": True}, {"batch": 2, "bias": True, "beta": 1.0})):
        workload = registry.operator("gemm").workload(m=7, n=33, k=16, **options, **{activation: True})
        _judge(kernel, workload, i, tmp_path / str(i))


@pytest.mark.parametrize("name", NAMES)
def test_is_a_baseline_with_one_empty_configuration(name: str) -> None:
    kernel = registry.kernel(name)
    assert kernel.baseline
    workload = registry.operator("gemm").workload(m=8, n=8, k=8)
    assert list(kernel.space(workload, TARGET)) == [{}]


@pytest.mark.parametrize(
    ("name", "extra"), [("torch", "torch"), ("onnxruntime", "onnxruntime"), ("jax", "xla")]
)
def test_a_missing_library_names_its_extra(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = registry.kernel(name)
    monkeypatch.setattr(type(kernel), "libraries", ("no_such_library",))
    with pytest.raises(Unavailable, match=rf"no_such_library is not installed.*kernel-tuner-lab\[{extra}\]"):
        kernel.require(registry.operator("gemm").workload(m=8, n=8, k=8), TARGET)


def test_listing_baselines_imports_no_library() -> None:
    code = """
import sys
from tuner import registry
for kernel in registry.kernels_of("gemm", "cpu"):
    kernel.unavailable()
print([m for m in ("torch", "onnxruntime", "onnx", "jax", "tvm", "tvm_ffi") if m in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_source_that_is_no_factory_is_a_build_error(tmp_path: Path) -> None:
    source = registry.kernel("numpy").lower(registry.operator("gemm").workload(m=8, n=8, k=8), {}, TARGET)
    with pytest.raises(BuildError, match=r"no module 'tuner\.schedules\.gemm\.nowhere'"):
        PythonBuilder().build(replace(source, text="tuner.schedules.gemm.nowhere:prepare"), TARGET, tmp_path)
    with pytest.raises(BuildError, match="module:function"):
        PythonBuilder().build(replace(source, text="tuner.schedules.gemm.baselines.numpy"), TARGET, tmp_path)


def test_threads_and_library_version_are_part_of_the_digest(tmp_path: Path) -> None:
    source = registry.kernel("numpy").lower(registry.operator("gemm").workload(m=8, n=8, k=8), {}, TARGET)
    assert source.threads == 2
    two = PythonBuilder().build(source, TARGET, tmp_path)
    one = PythonBuilder().build(replace(source, threads=1), TARGET, tmp_path)
    assert one.digest != two.digest
    assert json.loads(two.path.read_text())["libraries"]["numpy"] == np.__version__


def test_a_clean_environment_lets_openblas_choose_its_own_kernel(tmp_path: Path) -> None:
    """The same NumPy, told a core type and not: only the clean process chooses for itself, and says what."""
    source = registry.kernel("numpy").lower(registry.operator("gemm").workload(m=8, n=8, k=8), {}, TARGET)
    artifact = PythonBuilder().build(source, TARGET, tmp_path)
    code = f"""
import numpy as np
from pathlib import PosixPath
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.kernel import Argument
from tuner.devices.cpu.callable import load
executable = load({artifact!r}, 1)
executable.bind({{name: np.ones((8, 8), np.float32) for name in "ABD"}})
executable.run()
print(next((name for name in executable.metrics() if name.startswith("blas:openblas/")), "none"))
"""

    def kernel_of(environment: dict[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    told = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    if not kernel_of(told).endswith("/Nehalem"):
        pytest.skip("this NumPy has no OpenBLAS that chooses its kernel at run time")
    assert "OPENBLAS_CORETYPE" in SCRUBBED
    assert not kernel_of(clean_environment(told)).endswith("/Nehalem")


def test_a_measured_baseline_says_which_blas_kernel_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the engine: its run process is started clean whatever our environment says."""
    from tuner.core.protocol import Protocol
    from tuner.devices.cpu.device import CpuDevice
    from tuner.engine.candidate.workshop import Workshop

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    gemm, kernel = registry.operator("gemm"), registry.kernel("numpy")
    workload = gemm.workload(m=64, n=64, k=64)
    with Workshop(CpuDevice(), Protocol(threads=1, budget_s=0.01), seed=0) as workshop:
        workshop.prepare(gemm, workload, companions=False)
        measured = workshop.measure(workload, workshop.build(kernel, workload, {}), None, None)
    assert measured.ok, measured.error
    ran = [name for name in measured.metrics if name.startswith("blas:")]
    assert ran and all(measured.metrics[name] == 1 for name in ran)
    assert not any(name.endswith("/Nehalem") for name in ran)
