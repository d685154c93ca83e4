"""`@triton.autotune` that remembers: every configuration's time is in the store, and none is taken twice.

`autotune` here is the decorator, `autotuner` the class behind it and `tuning` what one call of it does;
`ledger` goes into the store and out of it. `outputs` compares what configurations leave, `journal` knows
which one took the process with it. `listening` stores what Triton's own autotuner finds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.integrations.triton.autotuner import Autotuner

__all__ = ["autotune", "listener"]


def autotune(
    configs: Any,
    key: Sequence[str],
    prune_configs_by: Mapping[str, Any] | None = None,
    reset_to_zero: Sequence[str] | None = None,
    restore_value: Sequence[str] | None = None,
    pre_hook: Callable[..., Any] | None = None,
    post_hook: Callable[..., Any] | None = None,
    warmup: int | None = None,
    rep: int | None = None,
    use_cuda_graph: bool = False,
    do_bench: Callable[..., Any] | None = None,
    cache_results: bool = False,
    *,
    search: str | None = None,
    trials: int = 50,
    seed: int = 0,
    db: str | None = None,
    check: bool = True,
    tolerance: float | None = None,
) -> "Callable[[Any], Autotuner]":
    """A decorator for a `@triton.jit` kernel, in place of `@triton.autotune`.

    Every configuration is a trial in the store, by the kernel's source with all it calls, the key's values,
    the arguments' dtypes, device, driver and versions. What is stored is not timed again, in another process
    either; a configuration that raises, does not fit or gives another result than the others is a failed
    trial, and the kernel goes on with the rest.

    >>> configs = [triton.Config({"BLOCK": 128}), triton.Config({"BLOCK": 256})]  # doctest: +SKIP
    >>> @autotune(configs=configs, key=["n"])  # doctest: +SKIP
    ... @triton.jit
    ... def kernel(x, n, BLOCK: tl.constexpr): ...

    Args:
        configs: a list of `triton.Config`; with `search` values by name (`{"BLOCK": [64, 128], "num_warps":
            [2, 4, 8]}`) or a `SearchSpace`, whose constraints are kept.
        key: names of arguments; another value of one is another tuning.
        prune_configs_by, reset_to_zero, restore_value, pre_hook, post_hook, warmup, rep, use_cuda_graph,
            do_bench: as Triton takes them. Of a `do_bench` that is not Triton's only the median is kept.
        cache_results: taken and not needed: results are kept in any case.
        search: name of a searcher (`surrogate`, `random`, ...; any that the registry finds).
        trials: how many configurations a search tries, those included that are stored.
        seed: of the searcher.
        db: path or SQLAlchemy URL; default `$TUNER_DB`, else `results.db` in the working folder.
        check: compare the tensors of the call after each configuration; takes memory for five copies of them.
        tolerance: of that comparison, as a share; by default by dtype, see `outputs.TOLERANCES`.

    Raises:
        UnknownName: there is no such searcher.
        InvalidSpace: ranges are not ranges, or a number is none of its kind.
        ValueError: as Triton: a name is no argument of the kernel.
        NoneRight: at the call: every configuration failed.
        ContextLost: at the call: one broke the GPU's context; started again, the program goes on without it.
    """
    given = {
        "prune_configs_by": prune_configs_by, "reset_to_zero": reset_to_zero, "restore_value": restore_value,
        "pre_hook": pre_hook, "post_hook": post_hook, "warmup": warmup, "rep": rep,
        "use_cuda_graph": use_cuda_graph, "do_bench": do_bench, "cache_results": cache_results,
    }  # fmt: skip

    def decorator(fn: Any) -> "Autotuner":
        from tuner.integrations.triton.autotuner import Wishes, decorate

        return decorate(fn, configs, key, given, Wishes(search, trials, seed, db, check, tolerance))

    return decorator


def listener(db: str | None = None) -> Callable[..., None]:
    """A function for `triton.knobs.autotuning.listener`: stores what Triton's own autotuner found.

    Its trials are replayed ones, on a device of their own: nobody compared their outputs.

    Args:
        db: as for `autotune`.

    Raises:
        Unavailable: this Triton calls none: it came with 3.8.
    """
    import triton

    from tuner.core.errors import Unavailable
    from tuner.integrations.triton.listening import Listener

    if not hasattr(triton.knobs.autotuning, "listener"):
        raise Unavailable(f"Triton {triton.__version__} tells no listener what it found: 3.8 and later do")

    return Listener(db)
