"""Tunes a kernel of one's own beside one of the lab's: the C++ file `examples/kernels/gemm_outer.cpp`.

    python examples/own_kernel.py

The file declares its parameters and constraints in its head comment; nothing else is needed. Each
configuration is verified against the operator's reference before it is timed: break the loop, and the
trials end as wrong results.
"""

import os
from pathlib import Path

import tuner

OWN, THEIRS = "gemm_outer", "cpp_naive"


def main() -> None:
    """Tunes both, prints every trial of ours and the best of each."""
    # Folders of kernels that are not the lab's. A shell would say: export TUNER_PLUGINS=examples/kernels
    os.environ["TUNER_PLUGINS"] = str(Path(__file__).resolve().parent / "kernels")
    outcome = tuner.tune(
        "gemm", "64x96x80", kernels=[OWN, THEIRS], searcher="grid", trials=12, baselines=False, rounds=0
    )
    print(f"{OWN}: all configurations")
    for trial in outcome.sweeps[OWN].trials:
        measured = trial.measurement
        time = "" if measured.time_s is None else f"{measured.time_s * 1e6:8.1f} us"
        config = " ".join(f"{name}={value}" for name, value in trial.key.config.items())
        print(f"  {config:20} {measured.status} {time}")

    # These are times of trials, each taken by itself. Without `rounds=0` a final would time the fastest
    # again, interleaved and in nine processes each, and declare a winner or a tie.
    for kernel, sweep in outcome.sweeps.items():
        assert sweep.best is not None and sweep.best.measurement.time_s is not None
        print(f"best of {kernel:12} {sweep.best.measurement.time_s * 1e6:8.1f} us")


if __name__ == "__main__":
    main()
