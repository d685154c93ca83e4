"""`make bench-vendor`: tuned CPU kernels beside the best of the vendors' libraries, shape by shape.

Run as `python -m tuner.lab.bench_vendor`. It stops after half an hour (`--quick`: ten minutes), the most
telling comparisons first; another run goes on with those that are missing. Results are kept in
`results/bench-vendor.json` and `.db`; `docs/cpu-performance.md` gets a section of this CPU. The machine has
to be idle: a final that other programs disturbed is not kept.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.places import ROOT
from tuner.core.scratch import Scratch
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes.locks import measuring
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import FinalPlacing, Ranking
from tuner.lab import vendor_page
from tuner.lab.resumable import concluded, minutes, read_kept, write_kept
from tuner.lab.vendor_cases import OPERATORS, Case, cases
from tuner.lab.vendor_roofline import cache_rates, roofs
from tuner.store.store import open_store

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


class _NoKernel(TunerError):
    """No kernel of ours takes a case: another run would find none either."""


class VendorBench:
    """The comparisons of one run on one device.

    Args:
        device: whose cores.
        store: keeps every trial.
        kept: what earlier runs of this device found, by the keys of the cases; added to.
        save: called after each comparison.
        trials: of a sweep.
    """

    def __init__(
        self, device: "Device", store: "Store", kept: dict[str, Any], save: Any, trials: int
    ) -> None:
        self._device, self._store, self._kept = device, store, kept
        self._save, self._trials = save, trials
        kept.setdefault("cases", {})
        kept.setdefault("about", {"speeds": {}})
        facts = device.facts()
        kept["about"] |= {
            "model": vendor_page.section_name(facts, device.fingerprint), "arch": facts.get("arch"),
            "hypervisor": facts.get("hypervisor"), "cores": int(device.target.limits["cores"]),
            "libraries": _libraries(),
        }  # fmt: skip

    def run(self, wanted: Sequence[Case], until: float) -> int:
        """Measures what is missing, until a moment of the monotonic clock; how many are still missing.

        Cases of one number of threads that follow each other share a workshop.
        """
        missing = [case for case in wanted if not self._known(case)]
        done = 0
        while done < len(missing) and time.monotonic() < until:
            threads = missing[done].threads
            protocol = campaign.default_protocol(self._device, threads=threads)
            with Workshop(self._device, protocol, campaign.fresh_seed()) as workshop:
                fresh = True
                while done < len(missing) and missing[done].threads == threads and time.monotonic() < until:
                    case = missing[done]
                    self._one(case, workshop, fresh)
                    done, fresh = done + 1, False
        return sum(not self._known(case) for case in wanted)

    def _known(self, case: Case) -> bool:
        found = self._kept["cases"].get(case.key)
        return bool(found and (found.get("ours_s") or found.get("unserved")))

    def _one(self, case: Case, workshop: Workshop, fresh: bool) -> None:
        workload = registry.operator(case.operator).parse(case.shape, case.dtype)
        found: dict[str, Any] = {**asdict(case), "date": date.today().isoformat(), "trials": self._trials}
        try:
            found |= self._compare(case, workload, workshop, fresh)
        except TunerError as error:
            found["error"] = str(error).splitlines()[0]
            found["unserved"] = isinstance(error, _NoKernel)
        finally:
            workshop.forget(registry.operator(case.operator), workload)
        self._kept["cases"][case.key] = found
        self._kept["about"]["date"] = found["date"]
        self._save()
        print(_line(case, found), flush=True)

    def _compare(self, case: Case, workload: Workload, workshop: Workshop, fresh: bool) -> dict[str, Any]:
        kernels, skipped = campaign.choose_kernels(
            workload, self._device, workshop.protocol, _compiled_kernels(case.operator), strict=False
        )
        if not any(not kernel.baseline for kernel in kernels):
            raise _NoKernel(f"no kernel of ours has {case.dtype}")
        plan = campaign.Plan(
            "auto", 0, Budget(trials=self._trials), resume=True, reuse=True, finalists=2, rounds=_ROUNDS,
            give_up_after=_GIVE_UP_AFTER, refresh_limits=fresh, final_within=_WITHIN,
        )  # fmt: skip
        setting = campaign.Setting(self._device, workshop.protocol, plan, self._store)
        outcome = campaign.run_campaign(workload, kernels, setting, skipped, shared=workshop)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.ranking is None:
            raise TunerError("no final was held")
        if outcome.ranking.disturbed:
            raise TunerError(f"disturbed: {outcome.ranking.disturbed}")
        rates = self._rates(case.threads, outcome.limits)
        limits = self._device.target.limits
        least = roofs(workload, limits, outcome.limits, rates, case.threads)
        return {
            **placings(outcome.ranking), "compute_s": least.compute, "levels_s": dict(least.levels),
        }  # fmt: skip

    def _rates(self, threads: int, peaks: Mapping[str, float]) -> Mapping[str, float]:
        """Rates of the caches, measured once a run and number of threads; kept for the page."""
        speeds = self._kept["about"]["speeds"]
        if str(threads) not in speeds:
            with Scratch("bench-vendor-") as folder, measuring(self._device.fingerprint):
                speeds[str(threads)] = cache_rates(self._device.target.limits, threads, folder)
        found: dict[str, float] = speeds[str(threads)]
        found["peak"] = peaks.get("peak_flops_f32", found.get("peak", 0.0))
        if "bandwidth_bytes_per_s" in peaks:
            found["memory"] = peaks["bandwidth_bytes_per_s"]
        return found


def placings(ranking: Ranking) -> dict[str, Any]:
    """Our fastest kernel and the best library of a final.

    Of a frozen workload the libraries' frozen modes take part, of others nobody that lays weights out ahead
    does (`Kernel.only_frozen`), so that what stands here did the same work.

    Returns:
        `ours`, `ours_s`; `best`, `best_s`, `ratio` (its time over ours: low, middle, high), left out where no
        library has a time; `libraries`: seconds by name.

    Raises:
        TunerError: none of ours has a time.
    """
    timed = [(entry.interval.mid, entry) for entry in ranking.entries if entry.interval]
    ours = _fastest([(mid, e) for mid, e in timed if not e.finalist.baseline])
    if ours is None:
        raise TunerError("none of our kernels was right in the final")
    libraries = [(mid, e) for mid, e in timed if e.finalist.baseline]
    found: dict[str, Any] = {
        "ours": ours.finalist.label, "ours_s": min(mid for mid, e in timed if e is ours),
        "libraries": {e.finalist.label: mid for mid, e in libraries},
    }  # fmt: skip
    best = _fastest(libraries)
    if best is not None:
        found["best"] = best.finalist.label
        found["best_s"] = found["libraries"][best.finalist.label]
        found["ratio"] = list(astuple(best.turns.over(ours.turns)))
    return found


def _fastest(timed: Sequence[tuple[float, FinalPlacing]]) -> FinalPlacing | None:
    return min(timed, key=lambda pair: pair[0])[1] if timed else None


def _compiled_kernels(operator: str) -> list[str]:
    """Our C++ kernels but the naive one: those of TensorIR take longer to compile than all else here."""
    found = registry.kernels_of(operator, "cpu")
    return [k.name for k in found if k.language == "cxx" and not k.name.endswith("naive")]


def _libraries() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _line(case: Case, found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"{case.key}: {found['error']}"
    against = f"{found['ratio'][1]:.2f}x {found['best']}" if "ratio" in found else "no library"
    return f"{case.key}: {found['ours']} {found['ours_s']:.3g} s, {against}"


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=minutes, help=f"stop after so many (default {_MINUTES:g})")
    parser.add_argument("--quick", action="store_true", help="ten minutes, few shapes, fewer trials")
    parser.add_argument("--only", choices=OPERATORS, action="append", help="these operators only")
    parser.add_argument("--dtype", action="append", help="these element types only")
    parser.add_argument(
        "--frozen", choices=("yes", "no"), help="weights laid out ahead, or in the call; default: both"
    )
    parser.add_argument("--threads", type=int, action="append", help="default: 2 and 1")
    parser.add_argument("--trials", type=int, help="of each kernel at each shape")
    parser.add_argument("--again", action="store_true", help="measure what is known too")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of .json and .db")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "cpu-performance.md")
    return parser.parse_args()


def main() -> int:
    """Measures until the time is over, and writes the page; exit code 1 where comparisons are missing."""
    told = _parsed()
    until = time.monotonic() + 60 * (told.minutes or (_QUICK_MINUTES if told.quick else _MINUTES))
    told.output.mkdir(parents=True, exist_ok=True)
    path = told.output / "bench-vendor.json"

    def measure() -> tuple[int, int]:
        kept = read_kept(path)
        device = campaign.default_device()
        run = kept.setdefault(device.fingerprint, {})
        cores = int(device.target.limits["cores"])
        threads = told.threads or list(dict.fromkeys([min(2, cores), 1]))
        frozen = {"yes": True, "no": False}.get(told.frozen)
        wanted = cases(threads, told.only or (), told.dtype or (), told.quick, frozen)
        if told.again:
            for case in wanted:
                run.get("cases", {}).pop(case.key, None)

        def save() -> None:
            write_kept(path, kept)
            vendor_page.write_page(told.page, run["about"]["model"], vendor_page.body(run))

        trials = told.trials or (_QUICK_TRIALS if told.quick else _TRIALS)
        with open_store(str(told.output / "bench-vendor.db")) as store:
            return VendorBench(device, store, run, save, trials).run(wanted, until), len(wanted)

    return concluded(measure, told.page, path)


if __name__ == "__main__":
    sys.exit(main())
