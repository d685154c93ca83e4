"""Tunes a small matrix product once, then uses the best kernel as a function of NumPy arrays.

    python examples/tune_and_load.py

The trials are stored in `results.db` in the working folder (or where `$TUNER_DB` says): a second run measures
none of them again.
"""

import numpy as np

import tuner

SIZES = {"m": 96, "n": 128, "k": 64}


def main() -> None:
    """Tunes, shows what was found, loads the best and checks it against NumPy."""
    # Two of the lab's kernels in C++, eight configurations each, and no libraries: seconds. By default all
    # kernels that can serve take part, and a final times the fastest again, interleaved with the libraries.
    kernels = ["cpp_tiled", "cpp_register"]
    outcome = tuner.tune("gemm", **SIZES, kernels=kernels, trials=8, baselines=False, rounds=0)
    for kernel, sweep in outcome.sweeps.items():
        if sweep.best is not None and sweep.best.measurement.time_s is not None:
            time_us, config = sweep.best.measurement.time_s * 1e6, dict(sweep.best.key.config)
            print(f"{kernel:14} {len(sweep.trials):2} trials, best {time_us:8.1f} us: {config}")

    gemm = tuner.load("gemm", **SIZES)
    print("loaded", gemm)

    rng = np.random.default_rng(0)
    a = rng.standard_normal((SIZES["m"], SIZES["k"]), dtype=np.float32)
    b = rng.standard_normal((SIZES["k"], SIZES["n"]), dtype=np.float32)
    error = np.abs(gemm(a, b) - a @ b).max()
    print(f"largest difference from NumPy: {error:.1e}")


if __name__ == "__main__":
    main()
