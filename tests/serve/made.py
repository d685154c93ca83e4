"""What the served database holds."""

from pathlib import Path

from tests.report.stored import DEVICE, GEMM, PROTOCOL, campaign, swept, trials
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}\u202e"
KERNELS = {"cpp_naive": (1, False, 3e-3), "cpp_packed": (40, False, 1.2e-4), "numpy": (1, True, 1.3e-4)}


def fill(path: Path) -> None:
    """Campaigns of one workload and of five; a sweep that reuses, of a device with a hostile name."""
    sizes = tuple(Workload("gemm", "f32", (("m", 64 * i), ("n", 64), ("k", 64))) for i in range(1, 6))
    with open_store(path) as store:
        campaign(store, KERNELS, title="GEMM 256")
        campaign(store, KERNELS, sizes, title=HOSTILE)
        _, ids = swept(store, "cpp_other", 12)
        device = DeviceInfo(
            "h" * 16, HOSTILE, "cpu", "cpu:avx2", {HOSTILE: HOSTILE}, {"peak_flops_f32": 1e11}
        )
        kernel = KernelInfo(HOSTILE, "d" * 16, "cxx", "gemm")
        spec = SweepSpec(GEMM, device, kernel, "cpu:avx2", HOSTILE, 0, PROTOCOL, {"trials": 30}, HOSTILE)
        sweep = store.begin_sweep(spec)
        store.add_trials(sweep, trials(spec, 30, 3))
        for number, trial in enumerate(ids[:4], 30):
            store.record_reuse(sweep, number, trial)
        store.finish_sweep(sweep)
        # Failures that were the machine's.
        failed = [t.id for t in store.sweep_history(sweep) if t.measurement.error][:2]
        store.forget({number: "no space" for number in failed if number is not None})


def begin(path: Path, kernel: str = "cpp_packed") -> tuple[int, SweepSpec]:
    """A sweep of this process that runs: its number and what it is of."""
    spec = SweepSpec(
        GEMM,
        DEVICE,
        KernelInfo(kernel, "e" * 16, "cxx", "gemm"),
        "cpu:avx2",
        "random",
        0,
        PROTOCOL,
        {"trials": 9},
    )
    with open_store(path) as store:
        return store.begin_sweep(spec), spec
