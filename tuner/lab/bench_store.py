"""Measures the store itself: `python -m tuner.lab.bench_store` prints JSON.

The database is of 100,000 trials: 40 workloads, 5 kernels, 3 devices, a sweep for each of the 600, a fifth
of the trials failed, each sweep with a final of its two fastest. Times are medians; nothing else should run.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.core.measurement import Calibration, Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store

WORKLOADS, KERNELS, DEVICES, TRIALS = 40, 5, 3, 100_000
BATCH = 100


def specs() -> Iterator[SweepSpec]:
    """The sweeps, workload by workload."""
    for w in range(WORKLOADS):
        size = 128 * (w + 1)
        workload = Workload("gemm", "f32", (("m", size), ("n", size), ("k", size)))
        for k in range(KERNELS):
            kernel = KernelInfo(f"kernel_{k}", f"{k:016x}", "cxx", "gemm")
            for d in range(DEVICES):
                device = DeviceInfo(f"{d:016x}", f"device {d}", "cpu", "cpu:avx2", {"cores": 2})
                yield SweepSpec(workload, device, kernel, "cpu:avx2", "random", 0, Protocol(threads=2))


def trials(spec: SweepSpec, count: int, seed: int) -> list[Trial]:
    """Trials of a sweep as they come: seven samples, a calibration, some metrics, or an error."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        config: dict[str, int | str] = {
            "MC": rng.choice([48, 96, 192]), "KC": rng.choice([128, 256, 512]), "NC": 64 * rng.randint(1, 64),
            "MR": 6, "NR": 16, "unroll": rng.choice([1, 2, 4]), "order": "jpi", "number": i,
        }  # fmt: skip
        key = TrialKey(
            spec.workload, spec.kernel.name, spec.kernel.digest, config, spec.target, "toolchain",
            spec.device.fingerprint, spec.protocol.digest,
        )  # fmt: skip
        if rng.random() < 0.2:
            measurement = Measurement(
                Status.BUILD_ERROR, Evidence.MEASURED, error="error: x\n" * 20, build_s=0.4
            )
        else:
            base = rng.uniform(1e-3, 1e-2)
            samples = tuple(base * rng.uniform(1, 1.1) for _ in range(7))
            measurement = Measurement(
                Status.OK, Evidence.MEASURED, samples, "", Calibration(1e-3, 1.01e-3, 1.02e-3), 0.5, 0.3, 0.1,
                {"code_bytes": 4096.0, "spill_bytes": 0.0}, f"{rng.getrandbits(64):016x}",
            )  # fmt: skip
        made.append(Trial(key, measurement))
    return made


def fill(store: Store, total: int) -> float:
    """Fills an empty store; trials a second over the inserts alone."""
    sweeps = list(specs())
    spent = 0.0
    for i, spec in enumerate(sweeps):
        count = total * (i + 1) // len(sweeps) - total * i // len(sweeps)
        made = trials(spec, count, i)
        sweep = store.begin_sweep(spec)
        ids: list[int] = []
        began = time.perf_counter()
        for first in range(0, count, BATCH):
            ids += store.add_trials(sweep, made[first : first + BATCH])
        spent += time.perf_counter() - began
        right = sorted(
            (t.measurement.time_s, number)
            for t, number in zip(made, ids, strict=True)
            if t.measurement.time_s
        )
        entries = [FinalEntry(number, "candidate", Turns((1.0 + rank / 100,) * 7)) for rank, (_, number) in
                   enumerate(right[:2])]  # fmt: skip
        store.record_final(Final(spec.workload, spec.device.fingerprint, spec.protocol, entries, None, sweep))
        store.finish_sweep(sweep)
    return total / spent


def median_of(times: int, action: Callable[[], object]) -> float:
    """Median seconds of an action."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def process_time(*arguments: str) -> float:
    """Median seconds of a fresh Python process.

    With bytecode, as a user's second call has it: where `PYTHONDONTWRITEBYTECODE` is set (many containers do)
    a process would compile a hundred files of the lab first.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def call() -> None:
        command = [sys.executable, *arguments]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    call()
    return median_of(7, call)


def measure(path: Path, total: int) -> dict[str, float]:
    """All figures, on a new database at `path`."""
    figures: dict[str, float] = {"trials": total}
    with open_store(path) as store:
        figures["insert_batch_per_s"] = fill(store, total)
        spec = next(specs())
        sweep = store.begin_sweep(spec)
        singles = iter(trials(spec, 300, -1))
        figures["insert_single_ms"] = 1e3 * median_of(300, lambda: store.add_trials(sweep, [next(singles)]))
        digests = [t.key.digest for t in trials(spec, 16, 0)]
        figures["find_16_identities_ms"] = 1e3 * median_of(20, lambda: store.find_identities(digests))
    key = next(specs()).workload.key
    with open_store(path, read_only=True) as store:
        began = time.perf_counter()
        rows = len(store.best("gemm"))
        # Nothing is cached yet: statements are compiled, pages are read.
        figures["best_first_ms"] = 1e3 * (time.perf_counter() - began)
        figures["best_query_ms"] = 1e3 * median_of(20, lambda: store.best("gemm"))
        figures["best_rows"] = rows
        figures["best_one_shape_ms"] = 1e3 * median_of(20, lambda: store.best("gemm", key))
        figures["history_ms"] = 1e3 * median_of(3, lambda: store.history("kernel_0", "gemm"))
    figures["open_and_best_process_s"] = process_time(
        "-c", f"from tuner.store.store import open_store as o; print(len(o({str(path)!r}).best('gemm')))"
    )
    figures["best_process_s"] = process_time("-m", "tuner", "best", "gemm", "--db", str(path))
    shape = "x".join(str(size) for _, size in next(specs()).workload.dims)
    figures["best_one_shape_process_s"] = process_time(
        "-m", "tuner", "best", "gemm", "--shape", shape, "--db", str(path)
    )
    figures["file_mib"] = path.stat().st_size / 2**20
    return figures


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measures the store.")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--db", type=Path, help="a new file to keep; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.db or Path(folder) / "bench.db", arguments.trials)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
