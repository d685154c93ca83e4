"""Launches beyond a trial's plain one: cooperative, structs by value, a user's program; on the fake."""

import ctypes
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import Unavailable
from tuner.core.kernel import Argument, Launch, Source
from tuner.devices.cuda.device import CudaDevice
from tuner.engine.program.tuned_kernel import Origin, TunedKernel

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
    packed = executable._value(Argument("p", "struct", None, fields), {"a": executable._regions["a"].address})
    assert ctypes.sizeof(packed) == 32
    raw = bytes(packed)
    assert np.frombuffer(raw, np.int32, 1)[0] == 7 and np.frombuffer(raw, np.float32, 1, 16)[0] == 0.5
    address, step = np.frombuffer(raw, np.int64, 2, 8)[0], np.frombuffer(raw, np.int64, 1, 24)[0]
    assert address == executable._regions["a"].address and step == -2


@pytest.fixture
def loaded(fake_gpu: ModuleType, tmp_path: Path) -> TunedKernel:
    """A kernel as `tuner.load` gives it, of a product of 16 x 16 matrices."""
    (device,) = CudaDevice.discover()
    gemm = registry.operator("gemm")
    kernel, workload = registry.kernel("cuda_shared_tiles"), gemm.parse("16x16x16")
    config, folder = {"TILE": 16, "PAD": 0}, tmp_path / "tuner-a" / "0"
    config = kernel.space(workload, device.target).nearest(config)
    folder.mkdir(parents=True)
    artifact = registry.builder_of(kernel, device.target).build(
        kernel.lower(workload, config, device.target), device.target, folder
    )
    return TunedKernel(workload, kernel, config, artifact, device, Origin(1))


def test_a_loaded_kernel_of_a_gpu_gives_its_output_back(loaded: TunedKernel) -> None:
    """NumPy arrays in and out, `out=` included: the kernel writes to the GPU's memory and not to theirs."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((16, 16)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(loaded(a, b), a @ b, rtol=1e-4, atol=1e-4)
    out = np.zeros((16, 16), np.float32)
    assert loaded(b, a, out=out) is out
    np.testing.assert_allclose(out, b @ a, rtol=1e-4, atol=1e-4)


class _Lent:
    """An array of a library that only has the CUDA Array Interface, and a stream of its own."""

    def __init__(self, array: Any, **more: Any) -> None:
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **more}
        self.kept = array


class _Passed:
    """One that only has DLPack."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        return self._array


def _on_gpu(
    fake: ModuleType, seed: int = 0, shape: tuple[int, ...] = (16, 16), dtype: Any = np.float32
) -> Any:
    array = fake.empty(shape, dtype)
    array.host[...] = np.random.default_rng(seed).standard_normal(shape)
    return array


def test_arrays_on_the_gpu_stay_there_and_the_call_is_on_the_callers_stream(
    fake_gpu: ModuleType, loaded: TunedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, a, b = fake_gpu.machine, _on_gpu(fake_gpu, 1), _on_gpu(fake_gpu, 2)
    monkeypatch.setattr(fake_gpu.Stream, "current", 7)
    copies, held = machine.host_ns, set(machine.memory)
    product = loaded(a, b)
    assert isinstance(product, fake_gpu.ndarray) and machine.streams[-1] == 7
    assert machine.host_ns - copies <= 2 * fake_gpu.QUEUE_NS, "a launch, and nobody waited for it"
    assert len(set(machine.memory) - held) == 1, "the output is all that was allocated"
    np.testing.assert_allclose(product.host, a.host @ b.host, rtol=1e-4, atol=1e-4)
    # Into an array of the caller's; from libraries that have nothing but a protocol.
    out, lent = _on_gpu(fake_gpu, 3), _Lent(a, stream=5)
    assert loaded(A=_Passed(b), B=lent, out=out) is out
    np.testing.assert_allclose(out.host, b.host @ a.host, rtol=1e-4, atol=1e-4)
    # Whose stream is another one has its work awaited, and waits for the call.
    assert machine.waits[-2:] == [(5, 7), (7, 5)]


def test_arrays_on_a_gpu_that_do_not_fit_are_refused_in_one_line(
    fake_gpu: ModuleType, loaded: TunedKernel
) -> None:
    a, b = _on_gpu(fake_gpu, 1), _on_gpu(fake_gpu, 2)
    elsewhere = _on_gpu(fake_gpu)
    elsewhere.device.id = 1
    before = fake_gpu.machine.launches[:]
    for given, out, error, words in (
        ((a, b.host), None, TypeError, "A lies on the GPU and B in the host's memory"),
        ((a, b), np.zeros((16, 16), np.float32), TypeError, "D in the host's memory"),
        ((a, elsewhere), None, ValueError, "B lies on cuda:1, the kernel was loaded for cuda:0"),
        ((a, _on_gpu(fake_gpu, dtype=np.float16)), None, ValueError, r"float16\[16, 16\], .* needs float32"),
        ((a, _on_gpu(fake_gpu, shape=(16, 8))), None, ValueError, r"float32\[16, 8\], .* needs"),
        ((a, b.T), None, ValueError, r"B is not C-contiguous \(strides of 4, 64 bytes\)"),
        ((a, _Lent(b, mask=b)), None, TypeError, "array B is a _Lent: an array with a mask"),
        ((a, _Lent(b, data=(b.data.ptr + 4, False))), None, ValueError, "boundary of 16 bytes"),
        ((a, b), _Lent(a, data=(a.data.ptr, True)), ValueError, "out is read-only"),
        ((a, b), b, ValueError, "out overlaps array B"),
    ):  # fmt: skip
        with pytest.raises(error, match=words) as refused:
            loaded(*given, out=out)
        assert "\n" not in str(refused.value)
    assert fake_gpu.machine.launches == before


class _Tensor:
    """As much of a tensor as is looked at, of a `torch` that is a stand-in too."""

    is_cuda, requires_grad = True, False
    dtype, shape = "torch.bfloat16", (4, 8)

    def __init__(self, index: int = 1) -> None:
        self.device = SimpleNamespace(index=index)

    def data_ptr(self) -> int:
        return 4096

    def element_size(self) -> int:
        return 2

    def stride(self) -> tuple[int, ...]:
        return 1, 4


def test_a_tensor_of_torch_tells_its_gpu_its_stream_and_its_strides(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    torch = SimpleNamespace(
        Tensor=_Tensor, bfloat16="bf16", empty=lambda *given, **named: made.append((given, named)),
        cuda=SimpleNamespace(current_stream=lambda index: SimpleNamespace(cuda_stream=100 + index)),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", torch)
    (device,) = CudaDevice.discover()
    found = device.resident(_Tensor())
    assert found is not None and (found.address, found.dtype, found.stream) == (4096, "bfloat16", 101)
    assert found.device == 1 and found.strides == (2, 8) and not found.contiguous
    found.empty((3,), "bfloat16")
    assert made[0][0] == ((3,),) and made[0][1]["dtype"] == "bf16" and made[0][1]["device"].index == 1
    monkeypatch.setattr(_Tensor, "requires_grad", True)
    with pytest.raises(TypeError, match="detach"):
        device.resident(_Tensor())
    monkeypatch.setattr(_Tensor, "is_cuda", False)
    assert device.resident(_Tensor()) is None


def test_calls_in_several_streams_share_workspaces_one_after_the_other(
    fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = _loaded(tmp_path / "tuner-a" / "0", 4)
    (device,) = CudaDevice.discover()
    arrays = {"a": _on_gpu(fake_gpu, 1, (128,)), "c": _on_gpu(fake_gpu, 2, (128,))}
    for stream in (7, 7, 8):
        monkeypatch.setattr(fake_gpu.Stream, "current", stream)
        executable.queue({name: device.resident(array) for name, array in arrays.items()})
    assert fake_gpu.machine.waits == [(7, 8)]
    expected = 2 * arrays["a"].host.reshape(4, 32)[::-1].reshape(-1)
    np.testing.assert_array_equal(arrays["c"].host, expected)


def test_tune_and_load_take_the_device_by_name(fake_gpu: ModuleType, tmp_path: Path) -> None:
    import tuner

    for function in (tuner.tune, tuner.load):
        with pytest.raises(Unavailable, match="cuda:7"):
            shape = {"m": 8, "n": 8, "k": 8}
            function("gemm", device="cuda:7", db=str(tmp_path / "results.db"), **shape)
