"""What the drop-in for `@triton.autotune` costs a call whose configuration is known, beside Triton's own."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from tuner.core.stats import ratio_interval
from tuner.engine.processes.locks import measuring
from tuner.lab.figures import Figure

_NAME = "triton autotune, cached call: ours over Triton's own"
_GOAL = 1.5


class _Null:
    """A kernel that launches nothing, in the place of what `@triton.jit` makes."""

    arg_names = ("x", "y", "out", "n", "BLOCK")

    @staticmethod
    def fn(x: Any, y: Any, out: Any, n: Any, BLOCK: Any) -> None:
        """Nothing."""

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def cached_call(device: str, rounds: int = 31, calls: int = 5_000) -> list[Figure]:
    """The ratio of a call's time through both wrappers, around a launcher that does nothing.

    The whole call counts, `kernel[grid](...)` with three tensors and a number; a real launch adds the same to
    both. Rounds take turns, so drift cancels.

    Args:
        device: fingerprint of what nothing else may be measured on meanwhile.
        rounds: pairs of samples.
        calls: of a sample.
    """
    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        return [Figure(_NAME, None, "x", _GOAL, True, f"{' and '.join(missing)} not installed")]
    ours, theirs = _launchers()
    for launch in (ours, theirs):
        _seconds(launch, calls)
    mine, own = [], []
    with measuring(device):
        for _ in range(rounds):
            mine.append(_seconds(ours, calls))
            own.append(_seconds(theirs, calls))
    ratio = ratio_interval(mine, own)
    note = (
        f"95% [{ratio.low:.3f}, {ratio.high:.3f}], around a null kernel: "
        f"{1e6 * sorted(mine)[rounds // 2]:.2f} us against {1e6 * sorted(own)[rounds // 2]:.2f} us a call"
    )
    return [Figure(_NAME, ratio.mid, "x", _GOAL, True, note)]


def _launchers() -> tuple[Callable[[], None], Callable[[], None]]:
    """A call through our wrapper and one through Triton's, with the configuration known to both."""
    import torch
    import triton

    from tuner.integrations.triton import autotune

    configs = [triton.Config({"BLOCK": 128}), triton.Config({"BLOCK": 256}, num_warps=8)]
    tensors = [torch.zeros(1024) for _ in range(3)]
    key = (1024, *(str(tensor.dtype) for tensor in tensors))

    def launcher(decorate: Any) -> Callable[[], None]:
        kernel = decorate(configs, ["n"])(_Null())
        kernel.cache[key] = configs[1]  # as after a tuning: nothing is timed, no driver asked
        launch = kernel[(8,)]
        return lambda: launch(*tensors, 1024)

    return launcher(autotune), launcher(triton.autotune)


def _seconds(launch: Callable[[], None], calls: int) -> float:
    """Seconds of a call, the mean of so many."""
    began = time.perf_counter()
    for _ in range(calls):
        launch()
    return (time.perf_counter() - began) / calls
