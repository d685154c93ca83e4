"""`tuner export --library DIR`: tuned kernels as a shared library, with cubins beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.core.workload import Workload
    from tuner.store.store import Store


# Lines on kernels that a library cannot hold; of a model's layers there may be fifty.
_TOLD = 8


def export_library(folder: Path, what: "Sequence[str]", name: str, db: str | None) -> None:
    """Writes the library and says what is in it."""
    from tuner.cli.common import counted, say, seconds
    from tuner.core.errors import TunerError
    from tuner.core.kernel import less_accurate
    from tuner.engine.tuning.campaign import default_device
    from tuner.export.library.cubins import write_cubins
    from tuner.export.library.package import write_library
    from tuner.export.staged import staged
    from tuner.store.store import open_store

    if not what:
        raise TunerError("name what goes in: an experiment's .toml, a model, workload keys or an operator")
    with open_store(db, read_only=True) as store, staged(folder) as fresh:
        workloads = named_workloads(what, store)
        cubins = write_cubins(fresh, name, workloads, store)
        try:
            written = write_library(fresh, name, workloads, default_device(), store)
        except TunerError as error:
            if not cubins:
                raise
            say(f"no shared library: {error}")
            written = None
    if written is not None:
        for plan in written.plan.operators:
            tuned = sum(len(one.levels[0].exact) for one in plan.classes)
            say(f"{plan.operator.name}: {counted(tuned, 'tuned shape')}, any other size by their rule")
        say(f"{counted(written.kernels, 'kernel')} for {', '.join(written.levels)}")
        for each in written.plan.left[:_TOLD]:
            row, other = each.row, each.instead
            stands = f"{other.kernel.name} ({seconds(other.time_s)})" if other else "nothing"
            faster = f"{row.kernel.name} ({seconds(row.time_s)})"
            say(f"left out of {row.workload.key}: {faster}, as {each.why}; {stands} stands in")
        if (beyond := len(written.plan.left) - _TOLD) > 0:
            say(f"left out of {beyond} more, as share/{name}/{name}.json lists (left_out)")
        for line in less_accurate(v.kernel for plan in written.plan.operators for v in plan.variants):
            say(line)
        if written.plan.untuned:
            some = ", ".join(w.key for w in written.plan.untuned[:4])
            more = " ..." * (len(written.plan.untuned) > 4)
            say(f"not tuned here with a kernel that a library can hold: {some}{more}")
        say(f"lib{name}.so, {name}.h, pkg-config and CMake files in {folder}")
    if cubins:
        say(f"{counted(cubins, 'cubin')} with their launch rules in {folder / 'share' / name / 'cuda'}")


def named_workloads(what: "Sequence[str]", store: "Store") -> "list[Workload]":
    """The workloads of experiment files, models, workload keys and operators (all that is stored of them).

    Raises:
        TunerError: a name is none of these, or an operator of which nothing is stored.
    """
    from tuner import registry
    from tuner.core.errors import TunerError, UnknownName
    from tuner.core.workload import Workload
    from tuner.core.workload_sets import set_names
    from tuner.engine.tuning.experiment import read_experiment
    from tuner.engine.tuning.series import layers_of

    found: list[Workload] = []
    for name in what:
        if name.endswith(".toml"):
            found += [layer.workload for layer in read_experiment(Path(name)).layers()]
        elif name in set_names():
            found += [layer.workload for layer in layers_of([name], None, "f32")]
        elif "/" in name:
            found.append(_known(Workload.from_key(name)))
        elif name in registry.operators():
            swept = [_known(s.spec.workload) for s in store.sweeps(name)]
            if not swept:
                raise TunerError(f"nothing of {name} is stored here: run 'tuner sweep {name}' first")
            found += swept
        else:
            known = [*registry.operators(), *set_names()]
            raise UnknownName(
                "operator or model", name, known, "; or an experiment's .toml, or workload keys"
            )
    return list(dict.fromkeys(found))


def _known(workload: "Workload") -> "Workload":
    """The same, checked by its operator."""
    from tuner import registry

    dims, options = dict(workload.dims), dict(workload.options)
    return registry.operator(workload.operator).workload(workload.dtype, **dims, **options)
