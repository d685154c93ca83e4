"""The library in three functions: `tune`, `best`, `load`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuner import registry
from tuner.core.brief import brief
from tuner.core.errors import InvalidConfig, TunerError
from tuner.core.space import Config
from tuner.engine.program.load import load_rows
from tuner.engine.program.tuned_kernel import TunedKernel
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.campaign_log import CampaignLog
from tuner.engine.tuning.named import by_kernel, with_named
from tuner.engine.tuning.nothing_right import NothingRight, has_failed
from tuner.engine.tuning.observer import Observer
from tuner.export.serve import load_by_rule, try_here
from tuner.interchange.named_configs import NamedConfig
from tuner.store.records import BestRow
from tuner.store.store import open_store

Configs = Sequence[Config] | Mapping[str, Sequence[Config]]
"""Configurations of one kernel, or of several by their names."""


def tune(
    operator: str,
    shape: str | None = None,
    *,
    dtype: str = "f32",
    kernels: Sequence[str] = (),
    searcher: str = "auto",
    trials: int | None = 100,
    seconds: float | None = None,
    patience: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
    cache: str | None = None,
    sustained: float | None = None,
    clock_mhz: int | None = None,
    resume: bool = False,
    baselines: bool = True,
    rounds: int = 25,
    configs: Configs | None = None,
    starts: Configs | None = None,
    db: str | None = None,
    observer: Observer | None = None,
    **values: Any,
) -> campaign.CampaignOutcome:
    """Tunes one workload, as `tuner sweep` does; every trial is stored.

    >>> few = [{"TILE_M": 16, "TILE_N": 64}, {"TILE_M": 32, "TILE_N": 64}]  # the rest as in the default
    >>> tuner.tune("gemm", m=512, n=512, k=512, kernels=["cpp_tiled"], configs=few)  # doctest: +SKIP

    Args:
        operator: `"gemm"`, ...
        shape: `"64x32x16"`; or give the dimensions and options by name: `m=64, n=32, k=16, relu=True`.
        dtype: element type.
        kernels: names; none means all that can serve.
        searcher: name of the search strategy.
        trials, seconds, patience: the budget of each kernel.
        seed: makes the proposals reproducible.
        threads: CPU threads; default all cores.
        device: what measures: `"cuda:0"`; default this machine's CPU.
        cache: `"warm"`, `"cold"` or `"model"`, see `Protocol`.
        sustained: seconds that a candidate keeps the device busy before it is timed; default 0.
        clock_mhz: what a GPU's clock is held at meanwhile; default: it goes as it likes.
        resume: continue the unfinished sweep of the same kind.
        baselines: measure the libraries too.
        rounds: of the interleaved final; 0 for none.
        configs: configurations to measure, all of them and no others, in place of a search (`trials` has no
            meaning then): of the one kernel in `kernels`, or by kernel. What one leaves out is as in the
            kernel's default. They meet in the final, `MOST_NAMED` (12) of a kernel at most.
        starts: configurations of the same form that searches begin with, among the `trials`.
        db: path or SQLAlchemy URL; default `$TUNER_DB`, else `results.db` in the working folder.
        observer: is told of every trial.
        **values: dimensions and options of the operator.

    Raises:
        InvalidConfig: a configuration of `configs` or `starts` is none of its kernel at this workload.
        TunerError: anything else a user can mend, in one line.
        MachineFault: the machine failed, not a candidate; what was measured is stored.
        NothingRight: no tuned kernel has a right configuration; `outcome` holds the rest.
        KeyboardInterrupt: after Ctrl-C, when what was measured is stored and all processes have ended; the
            sweep is `interrupted` in the store, and the same call with `resume=True` goes on with it.
    """
    op = registry.operator(operator)
    workload = op.parse(shape, dtype, **values) if shape else op.workload(dtype, **values)
    where, observer = campaign.default_device(device), observer or Observer()
    protocol = campaign.default_protocol(
        where, threads=threads, cache=cache, sustained_s=sustained, clock_mhz=clock_mhz,
        prune_factor=None if configs is None else 0.0,
    )  # fmt: skip
    registry.searcher(searcher)
    plan = campaign.Plan(searcher, seed, Budget(trials, seconds, patience), resume, rounds=rounds)
    if configs is not None and (starts is not None or seconds is not None or patience is not None):
        raise TunerError("configs are measured without a search: starts, seconds and patience are of one")
    target, given = where.target_for(protocol.threads), starts if configs is None else configs
    found = {} if given is None else by_kernel(_named(given), kernels, workload, target, observer.note)
    chosen, skipped = campaign.choose_kernels(workload, where, protocol, kernels or list(found), baselines)
    if found:
        plan = with_named(plan, found, chosen, workload, target, configs is not None, observer.note)
    with open_store(db) as store:
        setting = campaign.Setting(where, protocol, plan, store, observer)
        spec = campaign.campaign_spec([workload], setting, kernels, baselines)
        with CampaignLog(store, spec, resume) as log:
            outcome = campaign.run_campaign(workload, chosen, setting, skipped, log=log.part(0))
    if outcome.interrupted:
        # Ctrl-C is for the caller too: a loop over many shapes would go on with the next one.
        raise KeyboardInterrupt(f"{workload.key}: interrupted; what was measured is stored")
    if has_failed(outcome):
        raise NothingRight(outcome)
    return outcome


def _named(given: Configs) -> list[NamedConfig]:
    """The configurations, each with its place for messages.

    Raises:
        InvalidConfig: not of the form of `Configs`; a dictionary of one configuration is the usual mistake.
    """
    found = []
    for kernel, configs in (given if isinstance(given, Mapping) else {"": given}).items():
        of = f" of {brief(kernel)[1:-1]}" if kernel else ""
        if isinstance(configs, str | Mapping) or not isinstance(configs, Iterable):
            raise InvalidConfig(
                f"configurations{of} are a list of dictionaries, [{{'TILE_M': 8}}, ...], not {brief(configs)}"
            )
        for number, config in enumerate(configs, 1):
            where = f"configuration {number}{of}"
            if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
                raise InvalidConfig(f"{where} is a dictionary by parameters' names, not {brief(config)}")
            found.append(NamedConfig(config, kernel, where=where))
    return found


def best(
    operator: str | None = None,
    shape: str | None = None,
    *,
    dtype: str = "f32",
    db: str | None = None,
    **filters: Any,
) -> list[BestRow]:
    """The best stored configuration of each kernel for each workload and device, fastest first.

    Args:
        operator: only of this operator.
        shape: only of this shape.
        dtype: of the shape.
        db: as for `tune`.
        **filters: `device` (fingerprint), `kernel`, `threads`, `cache`, `evidence`: see `Store.best`.

    Raises:
        TunerError: the database cannot be read, the shape is wrong.
    """
    key = registry.operator(operator).parse(shape, dtype).key if operator and shape else None
    with open_store(db, read_only=True) as store:
        return store.best(operator, key, **filters)


def load(
    operator: str, *, dtype: str = "f32", db: str | None = None, kernel: str | None = None,
    threads: int | None = None, device: str | None = None, any_shape: bool = False, measure: bool = False,
    **values: Any,
) -> TunedKernel:  # fmt: skip
    """A callable on NumPy arrays, compiled from the best stored configuration (cached on disk).

    With none for exactly this workload on this machine, the nearest valid one is taken, with a
    `NearestConfiguration` warning that says which.

    >>> gemm = tuner.load("gemm", m=1024, n=1024, k=1024)  # doctest: +SKIP
    >>> d = gemm(a, b)  # doctest: +SKIP

    Args:
        operator: `"gemm"`, ...
        dtype: element type.
        db: as for `tune`.
        kernel: only this kernel.
        threads: only configurations measured with so many threads.
        device: what runs it: `"cuda:0"`, with arrays copied to the GPU and back; default this machine's CPU.
        any_shape: where this shape was not tuned here, ask the rule that `tuner dispatch` makes of all that
            were, in place of the nearest one (which it is where fewer than two were); `note` says what was
            picked, and nothing warns.
        measure: with `any_shape`, and where this shape is not stored: time the most promising of the stored
            configurations at it, six at most, and keep what came out in the database. Takes ten seconds or
            so, once.
        **values: dimensions and options: `m=1024, n=1024, k=1024, trans_b=True`.

    Raises:
        TunerError: `measure` without `any_shape`.
        Unavailable: nothing stored can serve (says what to run), the shape is larger than this machine's
            memory, or the cache cannot be written.
        BuildError: it does not compile on this machine.
    """
    if measure and not any_shape:
        raise TunerError("measure=True times configurations of other shapes: give any_shape=True too")
    workload = registry.operator(operator).workload(dtype, **values)
    where = campaign.default_device(device)
    if measure:
        # A database that is not there has no rule, and is not made.
        open_store(db, read_only=True).close()
    with open_store(db, read_only=not measure) as store:
        rows = store.best(operator=operator, threads=threads)
        if measure and try_here(workload, rows, where, store, kernel, threads):
            rows = store.best(operator=operator, threads=threads)
        if any_shape and (served := load_by_rule(workload, rows, where, store, kernel, threads)) is not None:
            return served
    return load_rows(workload, rows, where, kernel, any_shape, threads)
