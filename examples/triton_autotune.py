"""A Triton kernel that is tuned once and remembered: `autotune` in place of `@triton.autotune`.

    python examples/triton_autotune.py

Needs PyTorch. With no GPU Triton's interpreter runs the kernel; its seconds are stored as a prediction, never
as measured. One of the configurations is wrong: it leaves out the tail.
"""

import os
import time
import warnings

try:
    import torch
except ImportError:
    raise SystemExit("error: this example needs PyTorch: pip install -e '.[torch]'") from None

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["TRITON_PRINT_AUTOTUNING"] = "1"

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from tuner.integrations.triton import autotune  # noqa: E402


def stand_in(call, quantiles):
    """Milliseconds of one call in the interpreter, where there is no GPU to time on."""
    began = time.perf_counter()
    call()
    return [1e3 * (time.perf_counter() - began)] * len(quantiles)


def tuned():
    """The kernel, as if its module were imported for the first time."""
    shapes = ((128, True), (256, True), (1024, False))
    configs = [triton.Config({"BLOCK": block, "TAIL": tail}) for block, tail in shapes]

    @autotune(configs, key=["n"], do_bench=None if GPU else stand_in)
    @triton.jit
    def double(x_ptr, out_ptr, n, BLOCK: tl.constexpr, TAIL: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        mask = i < (n if TAIL else n // BLOCK * BLOCK)
        tl.store(out_ptr + i, 2 * tl.load(x_ptr + i, mask), mask)

    return double


if __name__ == "__main__":
    x = torch.arange(5000.0, device="cuda" if GPU else "cpu")
    out = torch.empty_like(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kernel in (tuned(), tuned()):  # the second has everything from the store
            kernel[lambda meta: (triton.cdiv(meta["n"], meta["BLOCK"]),)](x, out, n=len(x))
            print(f"right: {torch.equal(out, 2 * x)}")
    print("\n".join(str(warning.message) for warning in caught if "rejected" in str(warning.message)))
    print("all of it: tuner best triton_double" + ("" if GPU else " --evidence predicted"))
