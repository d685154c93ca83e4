"""Launches beyond a trial's plain one: cooperative, structs by value, a user's program; on the fake."""

import ctypes
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import Unavailable
from tuner.core.kernel import Argument, Launch, Source
from tuner.devices.cuda.device import CudaDevice
from tuner.engine.program.tuned_kernel import TunedKernel

_WAITING = """#include <cooperative_groups.h>
extern "C" __global__ void waiting(const float* a, float* c, float* kept) {
  kept[blockIdx.x * 32 + threadIdx.x] = 2.0f * a[blockIdx.x * 32 + threadIdx.x];
  cooperative_groups::this_grid().sync();
  c[blockIdx.x * 32 + threadIdx.x] = kept[(gridDim.x - 1 - blockIdx.x) * 32 + threadIdx.x];
}
"""


def _loaded(folder: Path, blocks: int) -> Any:
    kept = Argument("kept", "workspace", 4 * 32 * blocks)
    launch = Launch((blocks, 1, 1), (32, 1, 1))
    source = Source("nvrtc", _WAITING, "waiting", (Argument("a"), Argument("c"), kept), launch=launch)
    folder.mkdir(parents=True)
    (device,) = CudaDevice.discover()
    artifact = registry.builder("nvrtc").build(source, device.target, folder)
    assert artifact.metrics["cooperative"] == 1
    return device.load(artifact)


def test_a_kernel_whose_blocks_wait_for_each_other_is_launched_so(
    fake_gpu: ModuleType, tmp_path: Path
) -> None:
    executable = _loaded(tmp_path / "tuner-a" / "0", 4)
    a = np.arange(128, dtype=np.float32)
    executable.bind({"a": a, "c": np.full(128, np.nan, np.float32)})
    executable.run()
    np.testing.assert_array_equal(executable.read("c"), 2 * a.reshape(4, 32)[::-1].reshape(-1))
    assert executable.sample(3) > 0 and executable.damage() is None


def test_a_grid_that_cannot_run_at_once_is_refused_in_one_line(fake_gpu: ModuleType, tmp_path: Path) -> None:
    executable = _loaded(tmp_path / "tuner-a" / "0", 9)
    tensors = {"a": np.zeros(288, np.float32), "c": np.zeros(288, np.float32)}
    with pytest.raises(RuntimeError, match="whose 9 blocks cannot run at once: the GPU holds 8, 2 an SM"):
        executable.bind(tensors)


def test_a_struct_by_value_lies_as_in_c(fake_gpu: ModuleType, tmp_path: Path) -> None:
    executable = _loaded(tmp_path / "tuner-a" / "0", 1)
    executable.bind({"a": np.zeros(32, np.float32), "c": np.zeros(32, np.float32)})
    fields = (
        Argument("n", "int32", 7), Argument("a"), Argument("alpha", "float32", 0.5),
        Argument("step", "int64", -2),
    )  # fmt: skip
    packed = executable._value(Argument("p", "struct", None, fields))
    assert ctypes.sizeof(packed) == 32
    raw = bytes(packed)
    assert np.frombuffer(raw, np.int32, 1)[0] == 7 and np.frombuffer(raw, np.float32, 1, 16)[0] == 0.5
    address, step = np.frombuffer(raw, np.int64, 2, 8)[0], np.frombuffer(raw, np.int64, 1, 24)[0]
    assert address == executable._regions["a"].address and step == -2


def test_a_loaded_kernel_of_a_gpu_gives_its_output_back(fake_gpu: ModuleType, tmp_path: Path) -> None:
    """NumPy arrays in and out, `out=` included: the kernel writes to the GPU's memory and not to theirs."""
    (device,) = CudaDevice.discover()
    gemm = registry.operator("gemm")
    kernel, workload = registry.kernel("cuda_shared_tiles"), gemm.parse("16x16x16")
    config, folder = {"TILE": 16, "PAD": 0}, tmp_path / "tuner-a" / "0"
    config = kernel.space(workload, device.target).nearest(config)
    folder.mkdir(parents=True)
    artifact = registry.builder_of(kernel, device.target).build(
        kernel.lower(workload, config, device.target), device.target, folder
    )
    loaded = TunedKernel(workload, kernel, config, artifact, device, trial_id=1, time_s=None, note="")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((16, 16)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(loaded(a, b), a @ b, rtol=1e-4, atol=1e-4)
    out = np.zeros((16, 16), np.float32)
    assert loaded(b, a, out=out) is out
    np.testing.assert_allclose(out, b @ a, rtol=1e-4, atol=1e-4)


def test_tune_and_load_take_the_device_by_name(fake_gpu: ModuleType, tmp_path: Path) -> None:
    import tuner

    for function in (tuner.tune, tuner.load):
        with pytest.raises(Unavailable, match="cuda:7"):
            shape = {"m": 8, "n": 8, "k": 8}
            function("gemm", device="cuda:7", db=str(tmp_path / "results.db"), **shape)
