"""`make bench-vendor`: tuned CPU kernels beside the best of the vendors' libraries, shape by shape.

Run as `python -m tuner.lab.bench_vendor`. It stops after half an hour (`--quick`: ten minutes), the most
telling comparisons first; another run goes on with those that are missing. Results are kept in
`results/bench-vendor.json` and `.db`, and added to the rows of all machines in
`docs/data/cpu-performance.json`, of which `docs/cpu-performance.md` gets a section of this CPU. The machine
has to be idle: a final that other programs disturbed is not kept.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.places import ROOT
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes.locks import measuring
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.lab import vendor_page
from tuner.lab.comparison_command import AskedFor, Files, add_arguments, carried_out, count
from tuner.lab.comparison_data import Run
from tuner.lab.comparisons import Comparisons, versions
from tuner.lab.least_times import Roofs
from tuner.lab.vendor_cases import DTYPES, OPERATORS, CpuCase, cases
from tuner.lab.vendor_roofline import cache_rates, roofs

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

_MINUTES, _QUICK_MINUTES = 30.0, 10.0
_TRIALS, _QUICK_TRIALS = 24, 12
_ROUNDS = 18
# A kernel this far behind another after so many trials is not tuned on.
_GIVE_UP_AFTER = 8
# Nor does one take part in a final that is so many times slower.
_WITHIN = 2.0
# Of libraries, those that others stand on: the page says which versions they were.
_PACKAGES = ("numpy", "mkl", "torch", "onednn-cpu-gomp", "onnxruntime", "jax")


class VendorBench(Comparisons):
    """The comparisons of one run on the cores of one CPU."""

    def __init__(
        self, device: "Device", store: "Store", kept: dict[str, Any], save: Callable[[], None], trials: int
    ) -> None:
        super().__init__(device, store, kept, save, trials)
        facts = device.facts()
        kept["about"] |= {
            "model": vendor_page.section_name(facts, device.fingerprint), "arch": facts.get("arch"),
            "hypervisor": facts.get("hypervisor"), "cores": int(device.target.limits["cores"]),
            "libraries": versions(_PACKAGES),
        }  # fmt: skip

    def protocol(self, case: CpuCase) -> Protocol:
        """The CPU's, with the case's threads."""
        return campaign.default_protocol(self.device, threads=case.threads)

    def plan(self, first: bool) -> campaign.Plan:
        """Two finalists a kernel; the peaks beside the first final of a number of threads."""
        return campaign.Plan(
            "auto", 0, Budget(trials=self.trials), resume=True, reuse=True, finalists=2, rounds=_ROUNDS,
            give_up_after=_GIVE_UP_AFTER, refresh_limits=first, final_within=_WITHIN,
        )  # fmt: skip

    def kernels(self, workload: Workload, workshop: Workshop) -> tuple[list[Kernel], dict[str, str]]:
        """Our C++ kernels but the naive one: those of TensorIR take longer to compile than all else here."""
        found = registry.kernels_of(workload.operator, self.device.target.kind)
        names = [k.name for k in found if k.language == "cxx" and not k.name.endswith("naive")]
        return campaign.choose_kernels(workload, self.device, workshop.protocol, names, strict=False)

    def roofs(self, case: CpuCase, workload: Workload, peaks: Mapping[str, float]) -> Roofs:
        """By measured peaks, and by rates of the caches, which are measured once a number of threads."""
        limits, threads = self.device.target.limits, case.threads
        return roofs(workload, limits, peaks, self._rates(threads, peaks), threads)

    def _rates(self, threads: int, peaks: Mapping[str, float]) -> Mapping[str, float]:
        """Rates of the caches, kept for the page."""
        speeds = self.kept["about"]["speeds"]
        if str(threads) not in speeds:
            with Scratch("bench-vendor-") as folder, measuring(self.device.fingerprint):
                speeds[str(threads)] = cache_rates(self.device.target.limits, threads, folder)
        found: dict[str, float] = speeds[str(threads)]
        found["peak"] = peaks.get("peak_flops_f32", found.get("peak", 0.0))
        if "bandwidth_bytes_per_s" in peaks:
            found["memory"] = peaks["bandwidth_bytes_per_s"]
        return found


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    documents = ROOT / "docs"
    page, data = documents / "cpu-performance.md", documents / "data" / "cpu-performance.json"
    add_arguments(parser, OPERATORS, DTYPES, page, data, _MINUTES)
    parser.add_argument("--quick", action="store_true", help="ten minutes, few shapes, fewer trials")
    parser.add_argument(
        "--frozen", choices=("yes", "no"), help="weights laid out ahead, or in the call; default: both"
    )
    parser.add_argument("--threads", type=count, action="append", help="default: 2 and 1")
    return parser.parse_args()


def _asked(told: argparse.Namespace) -> AskedFor[CpuCase]:
    device = campaign.default_device()
    cores = int(device.target.limits["cores"])
    threads = told.threads or list(dict.fromkeys([min(2, cores), 1]))
    frozen = {"yes": True, "no": False}.get(told.frozen)
    trials = told.trials or (_QUICK_TRIALS if told.quick else _TRIALS)

    def bench(store: "Store", run: Run, save: Callable[[], None]) -> VendorBench:
        return VendorBench(device, store, run, save, trials)

    found = cases(threads, told.only or (), told.dtype or (), told.quick, frozen)
    return AskedFor(device, vendor_page.section_name(device.facts(), device.fingerprint), found, bench)


def main() -> int:
    """Measures until the time is over, and writes the page; exit code 1 where comparisons are missing."""
    told = _parsed()
    files = Files(told.data, told.page, vendor_page.write_section, ("threads",))
    lasts = _QUICK_MINUTES if told.quick else _MINUTES
    return carried_out(told, files, "bench-vendor", lasts, partial(_asked, told))


if __name__ == "__main__":
    sys.exit(main())
