"""Triton's autotuner with the store behind it. Imports Triton: who uses it has it loaded.

What Triton does around a call (hooks, pruning, `warmup`) is Triton's own, inherited; what differs is where
times come from and go to, and that one bad configuration is left out.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import triton
from triton.runtime import autotuner as theirs

from tuner.core.default_config import default_config
from tuner.core.errors import InvalidSpace
from tuner.core.measurement import Evidence
from tuner.integrations.triton import searching, timing
from tuner.integrations.triton.identity import identity_of
from tuner.integrations.triton.ledger import Ledger
from tuner.integrations.triton.tuning import KernelCall, TuningResult, tune_list


@dataclass(frozen=True)
class Wishes:
    """What `autotune` takes beyond Triton's arguments; see there."""

    search: str | None = None
    trials: int = 50
    seed: int = 0
    db: str | None = None
    check: bool = True
    tolerance: float | None = None


class _Choices(dict[Any, Any]):
    """Configurations by key, as Triton keeps them; whatever removes one makes `fresh` false."""

    fresh = True

    def __delitem__(self, key: Any) -> None:
        self.fresh = False
        super().__delitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.fresh = False
        super().__setitem__(key, value)

    def clear(self) -> None:
        """Forgets everything: the next call tunes, or asks the store."""
        self.fresh = False
        super().clear()

    def pop(self, *key: Any) -> Any:
        """As of a dictionary."""
        self.fresh = False
        return super().pop(*key)


class Autotuner(theirs.Autotuner):  # type: ignore[misc]
    """What `tuner.integrations.triton.autotune` makes of a kernel; a `triton.runtime.Autotuner`.

    Args:
        fn: the kernel.
        configs: a list of `triton.Config`, or ranges where `wishes.search` names a searcher.
        key: as Triton takes it.
        given: Triton's other arguments, by name.
        wishes: the others.
    """

    def __init__(
        self, fn: Any, configs: Any, key: Sequence[str], given: Mapping[str, Any], wishes: Wishes
    ) -> None:
        self.wishes = wishes
        self.space = searching.space_of(configs) if wishes.search else None
        # Triton has to have a list, for `warmup`: the default.
        listed = configs if self.space is None else [searching.triton_config(default_config(self.space))]
        order = (
            "reset_to_zero",
            "restore_value",
            "pre_hook",
            "post_hook",
            "prune_configs_by",
            "warmup",
            "rep",
        )
        known = {name: given.get(name) for name in (*order, "use_cuda_graph", "do_bench", "cache_results")}
        super().__init__(fn, fn.arg_names, listed, key, **known)
        graph = bool(given.get("use_cuda_graph"))
        self._protocol = timing.protocol_of(
            given.get("do_bench"), given.get("warmup"), given.get("rep"), graph
        )
        names = list(self.arg_names)
        # Triton says so since 3.9; before, a name that is none failed within a launch, or not at all.
        for kind in ("key", "reset_to_zero", "restore_value"):
            for name in self.keys if kind == "key" else getattr(self, kind):
                if name not in names:
                    raise ValueError(
                        f"{kind}: {name!r} is no argument of the kernel, which has {', '.join(names)}"
                    )
        self._names = frozenset(names)
        self._places = tuple((names.index(name), name) for name in self.keys)
        self.cache = _Choices()
        self._chosen: dict[Any, tuple[Any, dict[str, Any]]] = {}
        self._chosen_of: Any = self.cache
        self.last: TuningResult | None = None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Launches the kernel with the best configuration for the call's key, tuning where none is known."""
        cache = self.cache
        if cache is not self._chosen_of or not cache.fresh:
            self._chosen.clear()
            self._chosen_of, cache.fresh = cache, True
        count = len(args)
        values = [args[i] if i < count else kwargs.get(name) for i, name in self._places]
        dtypes = [getattr(argument, "dtype", None) for argument in args]
        # Nearly always arguments are given by position, and by name the constants.
        if kwargs.keys() & self._names:
            dtypes += [(n, getattr(v, "dtype", None)) for n, v in kwargs.items() if n in self._names]
        short = (tuple(values), tuple(dtypes))
        found = self._chosen.get(short)
        if found is None:
            found = self._choose(args, kwargs)
            self._chosen[short] = found
        config, constants = found
        self.best_config = config
        if config.pre_hook is not None:
            config.pre_hook({**dict(zip(self.arg_names, args, strict=False)), **kwargs, **constants})
        return self.fn.run(*args, **kwargs, **constants)

    def _choose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The configuration for a call whose key was not seen in this process, with its constants."""
        self.nargs: Any = dict(zip(self.arg_names, args, strict=False))
        try:
            if len(self.configs) == 1 and self.space is None:
                return self.configs[0], self.configs[0].all_kwargs()
            named = {n: v for n, v in {**self.nargs, **kwargs}.items() if n in self._names}
            values = {name: named[name] for name in self.keys if name in named}
            dtypes = [str(v.dtype) for v in named.values() if hasattr(v, "dtype")]
            key = (*values.values(), *dtypes)
            if key not in self.cache:
                self.cache[key] = self._best_for(key, values, dtypes, args, kwargs)
                self.cache.fresh = True  # one more choice is no reason to look anew for the others
            return self.cache[key], self.cache[key].all_kwargs()
        finally:
            self.nargs = None

    def _best_for(
        self,
        key: Any,
        values: dict[str, Any],
        dtypes: list[str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        configs = self.prune_configs(kwargs) if self.space is None else []
        if len(configs) == 1:
            return configs[0]
        for config in configs:
            if conflicts := kwargs.keys() & config.kwargs.keys():
                raise ValueError(
                    f"{', '.join(sorted(conflicts))} is given in the call and tuned too: leave it out of one"
                )
        began = time.perf_counter()
        call = self._call(args, kwargs)
        identity = identity_of(self.fn, values, dtypes, self._protocol, _interpreted())
        if identity.evidence is Evidence.PREDICTED and call.do_bench is None:
            identity = identity.emulated()
        wishes = self.wishes
        with Ledger(identity, wishes.db, wishes.search or "given", wishes.seed) as ledger:
            if self.space is not None:
                posed = {"search": wishes.search, "trials": wishes.trials, "seed": wishes.seed}
                check = (wishes.check, wishes.tolerance)
                configs, result = searching.search(
                    call, self.space, ledger, posed, lambda c: self._keeps(c, kwargs), check
                )
            else:
                result = tune_list(call, configs, ledger, wishes.check, wishes.tolerance)
        best = configs[result.best()]
        self.configs_timings = {configs[i]: result.milliseconds(i) for i in result.trials}
        self.last, self.bench_time = result, time.perf_counter() - began
        if result.timed:
            self.pre_hook({**self.nargs, **kwargs, **best.all_kwargs()}, reset_only=True)
        self._tell(key, best, result)
        return best

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> KernelCall:
        arguments = {**self.nargs, **kwargs}

        @contextmanager
        def attempt(config: Any) -> Iterator[None]:
            constants = {**kwargs, **config.all_kwargs()}
            full = {**self.nargs, **constants}
            if config.pre_hook:
                config.pre_hook(full)
            self.pre_hook(full)
            try:
                self.fn.run(*args, **constants)
                yield
            except Exception as error:
                # A hook that restores tensors fails too where the GPU is lost: why it is lost counts.
                with suppress(Exception):
                    self.post_hook(full, exception=error)
                raise
            self.post_hook(full, exception=None)

        def timed(config: Any) -> Callable[[], None]:
            def call() -> None:
                with attempt(config):
                    pass

            return call

        own = self._do_bench if _interpreted() else self.do_bench
        return KernelCall(self.base_fn.__name__, arguments, timed, attempt, own)

    def _keeps(self, config: Any, kwargs: dict[str, Any]) -> bool:
        prune = self.early_config_prune
        return prune is None or bool(prune([config], self.nargs, **kwargs))

    def _tell(self, key: Any, best: Any, result: TuningResult) -> None:
        """One line for those who print, and Triton's listener where there is one."""
        knobs = triton.knobs.autotuning
        listener = getattr(knobs, "listener", None)  # Triton has one since 3.8
        if listener is not None:
            listener(
                fn=self.base_fn if _interpreted() else _jitted(self.fn), key=key, best_config=best,
                configs_timings=self.configs_timings, duration=self.bench_time if result.timed else None,
                cache_hit=not result.timed,
            )  # fmt: skip
        if knobs.print:
            failed = sum(not trial.measurement.ok for trial in result.trials.values())
            print(
                f"Triton autotuning for function {self.base_fn.__name__} with key {key}: {len(result.timed)} "
                f"tried, {len(result.trials) - len(result.timed)} from {result.where}, {failed} failed, "
                f"{self.bench_time:.2f} s; best config: {best}"
            )


def decorate(
    fn: Any, configs: Any, key: Sequence[str], given: Mapping[str, Any], wishes: Wishes
) -> Autotuner:
    """The tuned kernel; see `tuner.integrations.triton.autotune`."""
    if wishes.search is None and not isinstance(configs, list | tuple | None):
        given_type = type(configs).__name__
        raise InvalidSpace(
            f"configs is a list of triton.Config, not {given_type}: ranges need search='surrogate'"
        )
    for name, value, least in (("trials", wishes.trials, 1), ("seed", wishes.seed, 0)):
        if type(value) is not int or value < least:
            raise InvalidSpace(f"{name} is a whole number of at least {least}, not {value!r}")
    share = wishes.tolerance
    if share is not None and not (isinstance(share, int | float) and 0 <= share < math.inf):
        raise InvalidSpace(f"tolerance is a share such as 1e-3, not {share!r}")
    if wishes.search is not None:
        from tuner import registry

        registry.searcher(wishes.search)
    return Autotuner(fn, configs, key, given, wishes)


def _interpreted() -> bool:
    return bool(triton.knobs.runtime.interpret)


def _jitted(function: Any) -> Any:
    while not isinstance(function, triton.runtime.jit.JITFunction):
        function = function.fn
    return function
