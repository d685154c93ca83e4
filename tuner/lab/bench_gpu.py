"""`make bench-gpu`: tuned CUDA kernels beside the best of cuBLAS, cuBLASLt, cuDNN and torch, shape by shape.

Run as `python -m tuner.lab.bench_gpu`. It begins nothing after half an hour (`--quick`: eight minutes), the
most telling comparisons first; another run goes on with those that are missing. Results are kept in
`results/bench-gpu.json` and `.db`, and added to the rows of all machines in `docs/data/gpu-performance.json`,
of which `docs/gpu-performance.md` gets a section of this GPU. On a board that is lent for minutes, with a
checkout that is not kept: `--output` names a folder that is, `--missing` measures what no run has measured
yet, and `--merge FILE` adds what came back, anywhere.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.places import ROOT
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import FEWEST, Turns
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import find_device
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.peaks import Peaks, measure_limits
from tuner.engine.tuning.starting import most_starts
from tuner.lab import gpu_page
from tuner.lab.comparison_command import AskedFor, Files, add_arguments, carried_out, count
from tuner.lab.comparison_data import Run
from tuner.lab.comparisons import Comparisons, NoKernel, versions
from tuner.lab.gpu_cases import DTYPES, OPERATORS, GpuCase, cases
from tuner.lab.gpu_kernels import with_a_chance
from tuner.lab.least_times import Roofs, least_bytes
from tuner.lab.resumable import seconds

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

_MINUTES, _QUICK_MINUTES = 30.0, 8.0
_TRIALS, _QUICK_TRIALS = 12, 6
# With 12 trials a case took 19 to 50 s on an H100, a step of decoding more than 90, a third of it for builds
# (2026-11-27). One that is at it for so long is stuck, or has no place in a loan of minutes.
_CASE_S = 150.0
_PROCESSES, _ROUNDS = 3, 18
_CONTENDERS = 2
_WITHIN = 1.5
# Kernels that hang must not take the case's time with them.
_RUN_S = 30.0
_PACKAGES = (
    "nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "torch", "flash-attn",
    "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12",
)  # fmt: skip


class GpuBench(Comparisons):
    """The comparisons of one run on one GPU.

    Args:
        device, store, kept, save, trials, case_s: see `Comparisons`.
        processes: of each finalist.
        named: kernels of ours that take part; none means those with a chance.
    """

    def __init__(
        self, device: "Device", store: "Store", kept: dict[str, Any], save: Callable[[], None], trials: int,
        case_s: float = _CASE_S, processes: int = _PROCESSES, named: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(device, store, kept, save, trials, case_s)
        self._processes, self._named = processes, tuple(named)
        facts, limits = device.facts(), device.target.limits
        kept["about"] |= {
            "model": gpu_page.section_name(facts), "arch": facts.get("arch"),
            "driver_cuda": facts.get("driver_cuda"), "sms": int(limits["sm_count"]),
            "libraries": versions(_PACKAGES),
        }  # fmt: skip
        sheet = {f"sheet_{dtype}": limits.get(f"peak_flops_{dtype}") for dtype in DTYPES}
        kept["about"]["speeds"] |= {name: rate for name, rate in sheet.items() if rate}

    def protocol(self, case: GpuCase) -> Protocol:
        """The GPU's own, with less patience."""
        return campaign.default_protocol(self.device, run_timeout_s=_RUN_S)

    def plan(self, first: bool) -> campaign.Plan:
        """The two fastest kernels, one configuration each, in few processes."""
        return campaign.Plan(
            "auto", 0, Budget(trials=self.trials), resume=True, reuse=True, finalists=1, rounds=_ROUNDS,
            # After what a sweep begins with, which is built at once.
            give_up_after=most_starts(self.trials), final_within=_WITHIN, sittings=self._processes,
            contenders=_CONTENDERS,
        )  # fmt: skip

    def peaks(self, workshop: Workshop) -> Peaks:
        """Measured once: the f32 peak and the rate of a copy."""
        found = measure_limits(workshop, self.store, None)
        speeds = self.kept["about"]["speeds"]
        speeds["measured_f32"] = found.limits["peak_flops_f32"]
        speeds["measured_memory"] = found.limits["bandwidth_bytes_per_s"]
        return found

    def kernels(self, workload: Workload, workshop: Workshop) -> tuple[list[Kernel], dict[str, str]]:
        """Those named, else those with a chance; and the libraries.

        Raises:
            NoKernel: there is none.
        """
        names = self._named or [kernel.name for kernel in with_a_chance(workload, workshop.target)]
        known = {kernel.name for kernel in registry.kernels_of(workload.operator, workshop.target.kind)}
        names = [name for name in names if name in known]
        if not names:
            raise NoKernel(f"no kernel of ours serves it on {workshop.target.name}")
        return campaign.choose_kernels(workload, self.device, workshop.protocol, names, strict=False)

    def roofs(self, case: GpuCase, workload: Workload, peaks: Mapping[str, float]) -> Roofs:
        """Arithmetic at the type's peak; memory behind the L2 cache at the rate of a copy."""
        operator, limits = registry.operator(workload.operator), self.device.target.limits
        name = f"peak_flops_{workload.dtype}"
        peak = peaks.get(name) or limits.get(name)
        rate = peaks["bandwidth_bytes_per_s"]
        moved = least_bytes(workload, limits["l2_bytes"])
        return Roofs(operator.flops(workload) / peak if peak else None, {"memory": moved / rate})

    def row(self, case: GpuCase) -> dict[str, Any]:
        """Also in how many processes a finalist runs."""
        return {**super().row(case), "processes": self._processes}

    def beside(self, outcome: campaign.CampaignOutcome, ours: str) -> dict[str, Any]:
        """Operations, bytes, the least time of the bytes, and the SM clock while our kernel was swept."""
        workload = outcome.workload
        operator = registry.operator(workload.operator)
        moved, best = operator.min_bytes(workload), outcome.sweeps[ours].best
        clock = best.measurement.metrics.get("sm_clock_hz_during") if best is not None else None
        return {
            "flops": float(operator.flops(workload)), "bytes": float(moved),
            "once_s": moved / outcome.limits["bandwidth_bytes_per_s"], "clock_hz": clock,
        }  # fmt: skip

    def ratio(self, library: Turns, ours: Turns) -> Interval:
        """The interval of few processes is over rounds, and says nothing of them: widened to hold each."""
        found = library.over(ours)
        if min(len(library.processes), len(ours.processes)) >= FEWEST:
            return found
        each = [
            statistics.median(top) / statistics.median(bottom)
            for top, bottom in zip(library.by_process, ours.by_process, strict=False)
        ]
        return Interval(min(found.low, *each), found.mid, max(found.high, *each))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    documents = ROOT / "docs"
    page, data = documents / "gpu-performance.md", documents / "data" / "gpu-performance.json"
    add_arguments(parser, OPERATORS, DTYPES, page, data, _MINUTES)
    parser.add_argument("--quick", action="store_true", help="eight minutes, two shapes a table, few trials")
    parser.add_argument("--device", default="cuda", help="default: the first GPU")
    parser.add_argument("--kernel", action="append", help="these of ours only; default: those with a chance")
    parser.add_argument(
        "--processes", type=count, default=_PROCESSES, help="of a finalist (default: %(default)s)"
    )
    parser.add_argument(
        "--case-seconds", type=seconds, default=_CASE_S, help="a case is given up then (default: %(default)g)"
    )
    return parser.parse_args()


def _asked(told: argparse.Namespace) -> AskedFor[GpuCase]:
    for name in told.kernel or ():
        registry.kernel(name)
    device = find_device(told.device)
    if not device.target.launched:
        raise TunerError(f"--device {told.device} is no GPU: make bench-vendor is for CPUs")
    trials = told.trials or (_QUICK_TRIALS if told.quick else _TRIALS)

    def bench(store: "Store", run: Run, save: Callable[[], None]) -> GpuBench:
        named = told.kernel or ()
        return GpuBench(device, store, run, save, trials, told.case_seconds, told.processes, named)

    found = cases(told.only or (), told.dtype or (), told.quick)
    return AskedFor(device, gpu_page.section_name(device.facts()), found, bench)


def main() -> int:
    """Measures until the time is over, and writes the page; exit code 1 where comparisons are missing."""
    told = _parsed()
    files = Files(told.data, told.page, gpu_page.write_section, ("processes",))
    lasts = _QUICK_MINUTES if told.quick else _MINUTES
    return carried_out(told, files, "bench-gpu", lasts, partial(_asked, told))


if __name__ == "__main__":
    sys.exit(main())
