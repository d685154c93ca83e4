"""What one experiment file is run as: a campaign for each number of threads, and one on paper for a GPU
that is not here."""

import os
from dataclasses import replace

from tuner import registry
from tuner.core.errors import TunerError
from tuner.engine.tuning.experiment import Experiment


def variants(experiment: Experiment, name: str) -> tuple[list[tuple[str, Experiment]], list[str]]:
    """The campaigns of an experiment, by the names they have in the store, and what differs from its file.

    Kernels of other targets than a campaign's are no part of it. Where the user took the experiment to a kind
    of target that none of the file's kernels are for, that kind's kernels of the same operator take their
    place. Numbers of threads beyond the cores of this process are left out, so that one file serves all
    machines; on a target that does not run on this process's cores they mean nothing.

    Args:
        experiment: as its file says.
        name: its file's without folder and ending.

    Raises:
        TunerError: nothing is left: every number of threads is beyond the cores, or no kernel serves.
    """
    notes: list[str] = []
    if experiment.moved and experiment.no_device:
        # As a part on paper is called: a page of the experiment shows it beside what was measured.
        name = f"{name}@{experiment.target}"
    found: list[tuple[str, Experiment]] = []
    target = experiment.on().target
    kind = target.kind
    if experiment.moved and "cores" not in target.limits and (experiment.threads or experiment.thread_counts):
        notes.append(f"threads of the file are left out: they are of a CPU's cores, and {kind} has none")
        experiment = replace(experiment, threads=None, thread_counts=())
    measured = _for(experiment, kind)
    if measured is None and experiment.moved and (others := _of_the_kind(experiment, kind)):
        notes.append(
            f"the file names kernels for {_kinds(experiment)} only: in their place all that {kind} has of "
            f"{' and '.join(_operators(experiment))} take part: {', '.join(others)}"
        )
        measured = replace(experiment, kernels=())
    if experiment.no_device or not experiment.thread_counts:
        found = [(name, measured)] if measured is not None else []
    elif measured is not None:
        cores = len(os.sched_getaffinity(0))
        fitting = [n for n in experiment.thread_counts if n <= cores]
        beyond = [str(n) for n in experiment.thread_counts if n > cores]
        if beyond:
            notes.append(f"{', '.join(beyond)} threads are left out: this process may use {cores} cores")
        found = [(f"{name}@threads{n}", replace(measured, threads=n, thread_counts=())) for n in fitting]
    paper = experiment.on_paper
    if paper is not None and not experiment.no_device and registry.target(paper).kind != kind:
        there = replace(
            experiment, device=None, target=paper, no_device=True, threads=None, thread_counts=(),
            sustained=None, lock_clock=None,
        )  # fmt: skip
        ranked = _for(there, registry.target(paper).kind)
        found += [(f"{name}@{paper}", ranked)] if ranked is not None else []
    if not found:
        raise TunerError(
            f"{name}: nothing of it can be run here: {'; '.join(notes) or _none_for(experiment, kind)}"
        )
    return found, notes


def _none_for(experiment: Experiment, kind: str) -> str:
    return f"its kernels are for {_kinds(experiment)}, not {kind}: name others under 'kernels'"


def _kinds(experiment: Experiment) -> str:
    """The kinds of targets that the named kernels are for."""
    return " and ".join(sorted({k for n in experiment.kernels for k in registry.kernel(n).target_kinds}))


def _operators(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(layer.workload.operator for layer in experiment.layers()))


def _of_the_kind(experiment: Experiment, kind: str) -> list[str]:
    """The kernels of a kind of targets that take part where none is named: no libraries, no open spaces."""
    known = (k for operator in _operators(experiment) for k in registry.kernels_of(operator, kind))
    return [kernel.name for kernel in known if not kernel.baseline and not kernel.searcher]


def _for(experiment: Experiment, kind: str) -> Experiment | None:
    """The experiment with the kernels that serve a kind of targets; `None` where it names others only."""
    mine = tuple(name for name in experiment.kernels if kind in registry.kernel(name).target_kinds)
    if experiment.kernels and not mine:
        return None
    return replace(experiment, kernels=mine)
