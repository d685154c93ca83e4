"""How the drop-in times: Triton's benchmarkers as they are, their raw samples where they give them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from tuner.core.protocol import Protocol
from tuner.integrations.triton.identity import named

QUANTILES = (0.5, 0.2, 0.8)
"""What a benchmarker is asked for, as Triton asks it: the median first."""
# Of a short kernel Triton takes ten thousand samples; so many of them are kept, evenly spaced among the
# sorted ones, so that their median is that of all.
_KEPT = 200


class NoTime(Exception):
    """A benchmarker gave nothing that is a time."""


def protocol_of(do_bench: Any, warmup: Any = None, rep: Any = None, use_cuda_graph: bool = False) -> Protocol:
    """How times are taken, as part of the trials' identity.

    Triton's benchmarkers write over the L2 cache before each call: `cold`; a CUDA graph of calls back to back
    is `warm`, and so is what somebody else's benchmarker does, as far as is known.

    Args:
        do_bench: the user's benchmarker; `None` for Triton's own.
        warmup, rep: milliseconds, as `@triton.autotune` takes them.
        use_cuda_graph: as `@triton.autotune` takes it.
    """
    if use_cuda_graph:
        return Protocol(
            cache="warm", prune_factor=0.0, timer=f"triton.testing.do_bench_cudagraph(rep={rep or 100})"
        )
    if warmup is not None or rep is not None:
        first, then = 25 if warmup is None else warmup, 100 if rep is None else rep
        timer = f"triton.testing.do_bench(warmup={first}, rep={then})"
        return Protocol(cache="cold", prune_factor=0.0, timer=timer)
    if do_bench is not None and not is_tritons(do_bench):
        return Protocol(cache="warm", prune_factor=0.0, timer=named(do_bench))
    return Protocol(cache="cold", prune_factor=0.0, timer="triton.testing.do_bench")


def is_tritons(do_bench: Any) -> bool:
    """Whether it is Triton's benchmarker, which gives its raw samples when it is asked for them."""
    return (
        getattr(do_bench, "__module__", "") == "triton.testing"
        and getattr(do_bench, "__name__", "") == "do_bench"
    )


def times_of(do_bench: Any, call: Callable[[], None]) -> tuple[tuple[float, ...], list[float]]:
    """Times a call: seconds of one call by sample, in the order taken, and the `QUANTILES` in milliseconds.

    Of a benchmarker that is not Triton's the only sample is the median it says.

    Raises:
        NoTime: it gave no positive finite number.
    """
    if is_tritons(do_bench):
        raw = [ms for ms in map(float, do_bench(call, return_mode="all")) if ms > 0]
        if not raw:
            raise NoTime("the benchmarker gave no positive time")
        ranked = sorted(range(len(raw)), key=raw.__getitem__)
        quantiles = [raw[ranked[min(len(raw) - 1, int(q * len(raw)))]] for q in QUANTILES]
        kept = ranked[:: max(1, math.ceil(len(raw) / _KEPT))]
        return tuple(raw[i] / 1e3 for i in sorted(kept)), quantiles
    said = do_bench(call, quantiles=QUANTILES)
    values = [float(v) for v in said] if isinstance(said, Sequence) else [float(said)]
    if not values or not all(math.isfinite(v) and v > 0 for v in values):
        raise NoTime(f"the benchmarker gave {values}, which is no time")
    return (values[0] / 1e3,), values
