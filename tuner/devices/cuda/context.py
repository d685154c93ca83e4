"""A process's connection to one GPU: stream, the lab's own kernels, and the stopwatch.

Only `cupy.cuda.runtime`, `.driver`, `.Stream` and `.Event` are used, so that what is timed is a launch and
nothing of CuPy's arrays.
"""

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tuner.core.places import CUDA_SRC
from tuner.devices.cuda.queueing import Queueing

KERNELS = CUDA_SRC / "runtime" / "device.ptx"

# The launch queue takes 1024 entries before the host has to wait: a sample's calls go in such portions.
MOST_QUEUED = 256
# Between readings of the clock during samples: one takes tens of microseconds.
_CLOCK_EVERY_S = 10e-3
# Tries of a sample that the host queued too late, each with a hold of what queueing was seen to take.
_TRIES = 4
# Seconds without a faster burst after which the clock counts as settled, and after which it is used as it is.
_STEADY_S, _SETTLE_S = 50e-3, 0.5
# The clock of the host's queueing; tests have one of their own.
host_clock = time.perf_counter
# Of `tuner_fma`: multiply-adds a thread and round.
FMA_A_ROUND = 64


class LoadedModule:
    """A loaded cubin or PTX; unloaded when nothing refers to it any more.

    Args:
        driver: `cupy.cuda.driver`.
        image: the file's content.

    Raises:
        RuntimeError: the driver refuses it.
    """

    def __init__(self, driver: Any, image: bytes) -> None:
        self._driver = driver
        self.handle = driver.moduleLoadData(image)

    def __del__(self) -> None:
        try:
            self._driver.moduleUnload(self.handle)
        except Exception:  # not loaded, or the context is broken and the process about to end
            pass


class Function:
    """A kernel of a loaded module.

    Args:
        driver: `cupy.cuda.driver`.
        module: which it keeps loaded.
        name: of the entry.

    Raises:
        RuntimeError: the module has no such kernel.
    """

    def __init__(self, driver: Any, module: LoadedModule, name: str) -> None:
        self._driver, self._module = driver, module
        self._handle = driver.moduleGetFunction(module.handle, name)

    def allow_shared(self, size: int) -> None:
        """Opts in to so many bytes of dynamic shared memory: without it the most is 48 KiB."""
        self._driver.funcSetAttribute(
            self._handle, self._driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, size
        )

    def blocks_an_sm(self, threads: int, shared_bytes: int) -> int:
        """How many of its blocks the driver says an SM holds at once."""
        return int(
            self._driver.occupancyMaxActiveBlocksPerMultiprocessor(self._handle, threads, shared_bytes)
        )

    def prepared(
        self, grid: Sequence[int], block: Sequence[int], shared_bytes: int, values: Sequence[Any],
        stream: int, cooperative: bool = False,
    ) -> Callable[[], None]:  # fmt: skip
        """A launch with all arguments packed: calling it queues the kernel.

        Args:
            grid, block: three sizes each.
            shared_bytes: of dynamic shared memory.
            values: ctypes values of the arguments, in order.
            stream: its handle.
            cooperative: all its blocks run at once and may wait for each other; the driver refuses a grid
                that the GPU cannot hold.
        """
        kept = tuple(values)
        pointers = (ctypes.c_void_p * max(1, len(kept)))(*(ctypes.addressof(value) for value in kept))
        sizes = (self._handle, *map(int, grid), *map(int, block), int(shared_bytes))
        numbers: tuple[Any, ...] = (*sizes, stream, ctypes.addressof(pointers))
        launch = self._driver.launchCooperativeKernel
        if not cooperative:
            launch, numbers = self._driver.launchKernel, (*numbers, 0)

        def call(_alive: object = (pointers, kept)) -> None:
            launch(*numbers)

        return call


class GpuContext:
    """This process's use of one GPU; made once a process by `open_context`.

    Args:
        index: of the device.
        sm_count, l2_bytes: of the device.
    """

    def __init__(self, index: int, sm_count: int, l2_bytes: int) -> None:
        import cupy

        self.cupy = cupy
        self.runtime, self.driver = cupy.cuda.runtime, cupy.cuda.driver
        self.runtime.setDevice(index)
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._sm_count, self._l2_bytes = sm_count, l2_bytes
        own = self.load(KERNELS.read_bytes() + b"\0")  # PTX ends with a zero byte
        self._hold, self._fma, self._mma = (
            Function(self.driver, own, name) for name in ("tuner_hold", "tuner_fma", "tuner_mma")
        )
        self._own_call: Callable[[], None]
        self._queueing = Queueing()
        self._begin, self._end = cupy.cuda.Event(), cupy.cuda.Event()
        self._evicting = 0
        self._settled = False
        self.late_samples = 0
        # What reads the SM clock, in Hz, and what it read while samples ran.
        self.read_clock: Callable[[], float | None] | None = None
        self.clocks: list[float] = []
        self._clock_at = -_CLOCK_EVERY_S

    def load(self, image: bytes) -> LoadedModule:
        """Loads a cubin or PTX.

        Raises:
            RuntimeError: the driver refuses it.
        """
        # The runtime makes the device's context when it is first used; the driver's calls need it.
        self.runtime.free(0)
        return LoadedModule(self.driver, image)

    def time(self, call: Callable[[], object], calls: int, launches: int = 1) -> float:
        """Mean seconds of `calls` calls back to back, between two events on the stream.

        The GPU is held until the host has queued all of them, so that a kernel shorter than its launch is
        timed by itself and not by the host. How long is what queueing took in the samples before; where the
        host was slower the calls are timed again, and a sample that stays late counts in `late_samples`.

        Args:
            call: queues one call on `stream`.
            calls: how many.
            launches: of kernels, by one call: a GPU's queue holds about a thousand.
        """
        total, left = 0.0, calls
        while left > 0:
            part = min(left, max(1, MOST_QUEUED // launches))
            total += self._portion(call, part, launches)
            left -= part
        return total / calls

    def _portion(self, call: Callable[[], object], calls: int, launches: int) -> float:
        for _ in range(_TRIES):
            self._wait(self._queueing.hold_s(calls * launches))
            began = host_clock()
            self._begin.record(self.stream)
            for _ in range(calls):
                call()
            self._end.record(self.stream)
            self._queueing.took(host_clock() - began, calls * launches)
            late = bool(self._begin.done)  # the GPU began before the host had queued the last call
            self._note_clock()
            self._end.synchronize()
            if not late:
                break
        self.late_samples += late
        return float(self.cupy.cuda.get_elapsed_time(self._begin, self._end)) * 1e-3

    def _note_clock(self) -> None:
        """Reads the clock while the GPU is at work: before and after a trial it is that of an idle one."""
        if self.read_clock is None or host_clock() - self._clock_at < _CLOCK_EVERY_S:
            return
        self._clock_at = host_clock()
        if clock := self.read_clock():
            self.clocks.append(clock)

    def _wait(self, seconds: float) -> None:
        duration = ctypes.c_uint64(int(seconds * 1e9))
        self._hold.prepared((1, 1, 1), (1, 1, 1), 0, [duration], self.stream.ptr)()

    def settle(self, rounds: int) -> None:
        """Keeps all SMs busy until their clock no longer rises; once in this context.

        An idle H100 runs its first kernels at seven eighths of the clock that it then keeps: with a reference
        taken there every later time looks an eighth too long. Done when bursts of the calibration kernel have
        not become 0.3% faster for 50 ms, after half a second at most.

        Args:
            rounds: of a burst; see `fma`.
        """
        if self._settled:
            return
        self._settled = True
        begun = host_clock()
        least, since = math.inf, begun
        while host_clock() - since < _STEADY_S and host_clock() - begun < _SETTLE_S:
            seconds, _ = self.fma(rounds)
            if seconds < least * 0.997:
                since = host_clock()
            least = min(least, seconds)

    def fma(self, rounds: int) -> tuple[float, float]:
        """Seconds of so many rounds of f32 multiply-adds on all SMs, and their floating-point operations."""
        threads = self._everywhere(self._fma, rounds)
        return self.time(self._own_call, 1), 2.0 * FMA_A_ROUND * rounds * threads

    def mma(self, rounds: int) -> float:
        """Seconds of so many rounds of f16 products on all tensor cores, with f32 sums, between registers."""
        self._everywhere(self._mma, rounds)
        return self.time(self._own_call, 1)

    def _everywhere(self, function: Function, rounds: int) -> int:
        """Makes ready a kernel of the lab's own on all SMs; how many threads it has."""
        blocks, threads = 2 * self._sm_count, 512
        values = [ctypes.c_void_p(None), ctypes.c_uint32(rounds)]
        self._own_call = function.prepared((blocks, 1, 1), (threads, 1, 1), 0, values, self.stream.ptr)
        return blocks * threads

    def keep_busy(self, call: Callable[[], object], seconds: float, launches: int) -> None:
        """Queues calls for so long, at most two portions ahead of the GPU, and waits for the last of them."""
        part = max(1, MOST_QUEUED // launches)
        marks = [self.cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        until, turn = host_clock() + seconds, 0
        while host_clock() < until:
            mark = marks[turn % 2]
            if turn >= 2:
                mark.synchronize()
            for _ in range(part):
                call()
            mark.record(self.stream)
            turn += 1
        self.stream.synchronize()

    def evict(self) -> None:
        """Queues a write of twice the L2 cache: what comes next finds nothing of its own there."""
        size = 2 * self._l2_bytes
        if not self._evicting:
            self._evicting = int(self.runtime.malloc(size))
        self.runtime.memsetAsync(self._evicting, 0, size, self.stream.ptr)

    def copy_rate(self) -> float:
        """Bytes a second of a copy of 8 times the L2 cache, those read and those written; the best of 5."""
        return 2 * 8 * self._l2_bytes / self.copy_seconds(5)

    def copy_seconds(self, tries: int) -> float:
        """Seconds of a copy of 8 times the L2 cache, the best of so many."""
        size = 8 * self._l2_bytes
        source, to = (int(self.runtime.malloc(size)) for _ in range(2))
        try:
            kind = self.runtime.memcpyDeviceToDevice

            def call() -> None:
                self.runtime.memcpyAsync(to, source, size, kind, self.stream.ptr)

            call()
            return min(self.time(call, 4) for _ in range(tries))
        finally:
            self.runtime.free(source)
            self.runtime.free(to)


@cache
def open_context(index: int, sm_count: int, l2_bytes: int) -> GpuContext:
    """The process's one context on a device."""
    return GpuContext(index, sm_count, l2_bytes)
