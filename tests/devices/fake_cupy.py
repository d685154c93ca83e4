"""A stand-in for the part of CuPy that the lab uses: measuring runs end to end with no GPU. Tests only.

Device memory is host memory, a launch runs the kernel's own CUDA source on the emulator, and time is a model:
the host takes 3 us to queue anything, a kernel 5 us and 1 ns a thread. `install` writes a module `cupy` (and
`pynvml`) into a folder; only a process with that folder on its path ever sees them.

A source with the words "FAKE ILLEGAL ADDRESS WHERE WAY 1", built with WAY=1, breaks the context when it is
launched: as on a GPU, every later call of the process fails.
"""

import ctypes
import fcntl
import json
import os
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.devices import fake_cublas

ROOT = Path(__file__).resolve().parents[2]
QUEUE_NS, KERNEL_NS = 3_000, 5_000
# An H100 with 4 SMs, so that a test is quick; what tests ask for by name.
ATTRIBUTES = {
    "WarpSize": 32, "MaxThreadsPerBlock": 1024, "MaxThreadsPerMultiProcessor": 2048,
    "MaxBlocksPerMultiprocessor": 32, "MaxRegistersPerBlock": 65536, "MaxRegistersPerMultiprocessor": 65536,
    "MaxSharedMemoryPerBlock": 49152, "MaxSharedMemoryPerBlockOptin": 232448,
    "MaxSharedMemoryPerMultiprocessor": 233472, "MaxGridDimX": 2**31 - 1, "MaxGridDimY": 65535,
    "MaxGridDimZ": 65535, "MultiProcessorCount": 4, "L2CacheSize": 1 << 20, "ClockRate": 1_980_000,
    "MemoryClockRate": 2_619_000, "GlobalMemoryBusWidth": 5120, "ComputeMode": 0,
}  # fmt: skip
_NAMES = list(ATTRIBUTES)


def settings() -> dict[str, Any]:
    """What a test asks of the fake: `FAKE_GPU`, JSON in the environment."""
    return {
        "capability": [9, 0],
        "name": "Fake H100",
        "throttle": 0,
        "driver": 13000,
        "attributes": {},
        "free": 4 << 30,
        "pids": [],
        # A file that the one process locks which has a context, as in exclusive-process mode.
        "exclusive": "",
        **json.loads(os.environ.get("FAKE_GPU", "{}")),
    }


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class _Machine:
    """Host clock, GPU clock, memory, and whether the context is broken."""

    def __init__(self) -> None:
        self.host_ns, self.gpu_ns = 0, 0
        self.memory: dict[int, np.ndarray] = {}
        self.broken, self.opened = False, False
        self.launches: list[str] = []
        # Streams that waited for another one ("first then"), and those that kernels were launched on.
        self.waits: list[tuple[int, int]] = []
        self.streams: list[int] = []
        self.device, self.recorded = 0, -1

    def check(self) -> None:
        if not self.opened and (path := settings()["exclusive"]):
            self.lock = Path(path).open("w")  # noqa: SIM115 (held until the process ends)
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CUDARuntimeError(
                    "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable"
                ) from None
        self.opened = True
        if self.broken:
            raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    def queue(self, nanoseconds: int) -> int:
        """Something queued by the host and run by the GPU when it comes to it; gives the time it ends."""
        self.check()
        self.host_ns += QUEUE_NS
        self.gpu_ns = max(self.gpu_ns, self.host_ns) + nanoseconds
        return self.gpu_ns

    def wait(self) -> None:
        self.host_ns = max(self.host_ns, self.gpu_ns)
        self.check()


machine = _Machine()


# cupy.cuda.runtime
def _malloc(size: int) -> int:
    machine.check()
    if size > 2**31:
        raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
    raw = np.empty(size + 512, np.uint8)
    address = raw.ctypes.data + -raw.ctypes.data % 512
    machine.memory[address] = raw
    return address


def _free(address: int) -> None:
    machine.check()
    if address:
        del machine.memory[address]


def _copy(to: int, source: int, size: int, kind: int, stream: int) -> None:
    machine.queue(size // 3000)
    ctypes.memmove(to, source, size)


def _set(to: int, value: int, size: int, stream: int) -> None:
    machine.queue(size // 3000)
    ctypes.memset(to, value, size)


def _properties(index: int) -> dict[str, Any]:
    s = settings()
    return {"name": s["name"].encode(), "uuid": bytes(range(16)), "totalGlobalMem": 4 << 30,
            "major": s["capability"][0], "minor": s["capability"][1]}  # fmt: skip


runtime = SimpleNamespace(
    getDeviceCount=lambda: 1, getDeviceProperties=_properties, driverGetVersion=lambda: settings()["driver"],
    deviceGetAttribute=lambda number, index: {**ATTRIBUTES, **settings()["attributes"]}[_NAMES[number]],
    deviceGetPCIBusId=lambda index: "0000:01:00.0", malloc=_malloc, free=_free,
    setDevice=lambda index: setattr(machine, "device", index),
    memcpyAsync=_copy, memsetAsync=_set, memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3,
    getDevice=lambda: machine.device, pointerGetAttributes=lambda address: SimpleNamespace(device=0),
    eventRecord=lambda event, stream: setattr(machine, "recorded", stream),
    streamWaitEvent=lambda stream, event: machine.waits.append((machine.recorded, stream)),
    CUDARuntimeError=CUDARuntimeError, **{f"cudaDevAttr{name}": i for i, name in enumerate(_NAMES)},
)  # fmt: skip


# cupy.cuda.driver
_libraries: dict[tuple[bytes, str, int], Any] = {}


class _Kernel:
    """An entry of a module: the emulated library of the source beside the cubin, built when launched."""

    def __init__(self, image: bytes, entry: str) -> None:
        self.entry, self.image, self.library, self.shared = entry, image, None, 0
        self.cooperative = False

    def source(self) -> str:
        # In a child of the lab the temporary folder is its workshop's.
        here = Path(tempfile.gettempdir())
        for path in here.glob(
            "**/kernel.cubin" if here.name.startswith("tuner-") else "tuner-*/**/kernel.cubin"
        ):
            if path.read_bytes() == self.image:
                return path.with_name("kernel.cu").read_text()
        raise CUDARuntimeError("CUDA_ERROR_INVALID_IMAGE: the fake knows cubins of CUDA C++ only")

    def kinds(self, text: str) -> str:
        """Of the parameters: t a pointer, i an int, f a float."""
        match = re.search(rf"__global__\s+void[^;{{]*?\b{self.entry}\s*\((.*?)\)\s*{{", text, re.DOTALL)
        assert match, self.entry
        return "".join("t" if "*" in p else "f" if "float" in p else "i" for p in match[1].split(","))

    def run(self, grid: list[int], block: list[int], shared: int, parameters: int) -> None:
        from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
        from tuner.core.kernel import Argument, Launch, Source
        from tuner.core.target import Target
        from tuner.devices.emulator.child import EmulatedLibrary

        text = self.source()
        if "this_grid" in text and not self.cooperative:
            raise CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure (a grid's barrier)")
        planted = re.search(r"FAKE ILLEGAL ADDRESS WHERE (\w+) (\w+)", text)
        if planted and f"#define {planted[1]} {planted[2]}\n" in text:
            machine.broken = True
            return
        if shared > 48 * 1024 and shared > self.shared:
            raise CUDARuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        kinds = {"t": "tensor", "i": "int32", "f": "float32"}
        arguments = tuple(Argument(f"a{i}", kinds[c], 0) for i, c in enumerate(self.kinds(text)))  # type: ignore[arg-type]
        self.library = _libraries.get((self.image, self.entry, shared))
        if self.library is None:
            launch = Launch((1, 1, 1), (block[0], block[1], block[2]), shared)
            source = Source("nvrtc", text, self.entry, arguments, launch=launch,
                            options={"include": str(ROOT / "cuda_src" / "gemm")})  # fmt: skip
            folder = Path(tempfile.mkdtemp(prefix="fake-cupy-"))
            built = CudaEmulatedBuilder().build(source, Target("cuda", "sm_90"), folder)
            self.library = _libraries[self.image, self.entry, shared] = EmulatedLibrary(built.path)
        pointers = (ctypes.c_void_p * len(arguments)).from_address(parameters)
        assert self.library.launch(grid, block, pointers, 0) == 0


def _launch(handle: Any, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int,
            parameters: int, extra: int) -> None:  # fmt: skip
    machine.launches.append(handle.entry)
    machine.streams.append(stream)
    if handle.entry == "tuner_hold":
        address = ctypes.c_void_p.from_address(parameters).value
        machine.queue(ctypes.c_uint64.from_address(address).value)
        return
    if handle.entry in ("tuner_fma", "tuner_mma"):
        machine.queue(1_000_000 if handle.entry == "tuner_fma" else 500_000)
        return
    machine.queue(KERNEL_NS + gx * gy * gz * bx * by * bz)
    handle.run([gx, gy, gz], [bx, by, bz], shared, parameters)


def _launch_cooperative(handle: Any, gx: int, gy: int, gz: int, *rest: int) -> None:
    """All blocks at once: the fake's SMs hold two each."""
    if gx * gy * gz > 2 * ATTRIBUTES["MultiProcessorCount"]:
        raise CUDARuntimeError(
            "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch"
        )
    handle.cooperative = True
    _launch(handle, gx, gy, gz, *rest, 0)


def _set_attribute(handle: Any, attribute: int, value: int) -> None:
    if value > ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]:
        raise CUDARuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
    handle.shared = value


driver = SimpleNamespace(
    moduleLoadData=lambda image: machine.check() or image, moduleUnload=lambda image: None,
    moduleGetFunction=_Kernel, launchKernel=_launch, launchCooperativeKernel=_launch_cooperative,
    occupancyMaxActiveBlocksPerMultiprocessor=lambda handle, threads, shared: 2,
    funcSetAttribute=_set_attribute,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
)  # fmt: skip


class Stream:
    """Everything is in order."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = 1

    current = 0  # the handle of the default stream

    def synchronize(self) -> None:
        machine.wait()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Event:
    """A moment of the GPU's clock."""

    at = 0
    ptr = 99

    def __init__(self, disable_timing: bool = False) -> None:
        pass

    def record(self, stream: Stream) -> None:
        self.at = machine.queue(0)

    @property
    def done(self) -> bool:
        return machine.host_ns >= self.at

    def synchronize(self) -> None:
        machine.host_ns = max(machine.host_ns, self.at)
        machine.check()


# Arrays, as far as a library call needs them.
class ndarray:
    """An array in the fake's device memory."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, memptr: Any) -> None:
        self.shape, self.dtype, self.ndim = tuple(shape), np.dtype(dtype), len(shape)
        self.data = memptr
        self.device = SimpleNamespace(id=0)
        size = int(np.prod(shape)) * self.dtype.itemsize
        raw = (ctypes.c_uint8 * size).from_address(memptr.ptr)
        self.host = np.frombuffer(raw, self.dtype).reshape(shape)

    @property
    def size(self) -> int:
        return int(self.host.size)

    @property
    def T(self) -> "ndarray":
        turned = ndarray(self.shape, self.dtype, self.data)
        turned.host, turned.shape = self.host.T, self.shape[::-1]
        return turned

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.host.flags.c_contiguous else self.host.strides
        return {"shape": self.shape, "typestr": self.dtype.str, "strides": strides, "version": 3,
                "data": (self.host.ctypes.data, False)}  # fmt: skip


def from_dlpack(array: Any) -> ndarray:
    """Of an object that has `host`, an array in the fake's memory."""
    assert isinstance(array.__dlpack__(stream=Stream.current), ndarray)
    return array.__dlpack__(stream=Stream.current)


def empty(shape: tuple[int, ...], dtype: Any) -> ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return ndarray(shape, dtype, SimpleNamespace(ptr=_malloc(size)))


def swapaxes(a: ndarray, first: int, second: int) -> Any:
    return SimpleNamespace(host=np.swapaxes(a.host, first, second))


def _host(value: Any) -> Any:
    return value.host if isinstance(value, ndarray) else value


def copyto(to: ndarray, source: ndarray) -> None:
    machine.queue(KERNEL_NS)
    to.host[...] = source.host


def add(a: ndarray, b: ndarray, out: ndarray) -> None:
    machine.queue(KERNEL_NS)
    np.add(_host(a), _host(b), out=out.host)


def maximum(a: ndarray, b: Any, out: ndarray) -> None:
    machine.queue(KERNEL_NS)
    np.maximum(_host(a), _host(b), out=out.host)


cublas = fake_cublas.library(lambda work: machine.queue(KERNEL_NS + work // 100))
cuda = SimpleNamespace(
    runtime=runtime, driver=driver, cublas=cublas, Stream=Stream, Event=Event,
    get_current_stream=lambda index=-1: SimpleNamespace(ptr=Stream.current),
    get_elapsed_time=lambda begin, end: (end.at - begin.at) * 1e-6, get_cublas_handle=lambda: 7,
    UnownedMemory=lambda address, size, owner: SimpleNamespace(ptr=address, owner=owner),
    MemoryPointer=lambda memory, offset: SimpleNamespace(ptr=memory.ptr + offset, mem=memory),
)  # fmt: skip

_SHIM = """
import sys
import types
from tests.devices.fake_cupy import *
from tests.devices import fake_cupy as _fake
cuda = types.ModuleType("cupy.cuda")
cuda.__dict__.update(vars(_fake.cuda))
sys.modules["cupy.cuda"] = cuda
ndarray, machine = _fake.ndarray, _fake.machine
"""
_NVML = """
from tests.devices.fake_cupy import settings
from types import SimpleNamespace
NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlDeviceGetHandleByPciBusId(bus): return bus
def nvmlDeviceGetClockInfo(device, which): return 1755 if which == 1 else 2619
def nvmlDeviceGetTemperature(device, which): return 41
def nvmlDeviceGetMemoryInfo(device): return SimpleNamespace(free=settings()["free"])
def nvmlDeviceGetComputeRunningProcesses(device):
    return [SimpleNamespace(pid=pid, usedGpuMemory=3 << 29) for pid in settings()["pids"]]
def nvmlDeviceGetPowerUsage(device): return 350_000
def nvmlDeviceGetCurrentClocksThrottleReasons(device): return settings()["throttle"]
def nvmlDeviceGetViolationStatus(device, policy): raise NVMLError("Not Supported")
"""


def install(folder: Path) -> Path:
    """Writes the modules `cupy` and `pynvml` into a folder, for a path."""
    (folder / "cupy.py").write_text(_SHIM)
    (folder / "pynvml.py").write_text(_NVML)
    return folder
