"""What one experiment file is run as: a campaign for each number of threads, and one on paper for a GPU
that is not here."""

import os
from dataclasses import replace

from tuner import registry
from tuner.core.errors import TunerError
from tuner.engine.tuning.experiment import Experiment


def variants(experiment: Experiment, name: str) -> tuple[list[tuple[str, Experiment]], list[str]]:
    """The campaigns of an experiment, by the names they have in the store, and what is left out of them.

    Kernels of other targets than a campaign's are no part of it. Numbers of threads beyond the cores of this
    process are left out, so that one file serves all machines.

    Args:
        experiment: as its file says.
        name: its file's without folder and ending.

    Raises:
        TunerError: nothing is left: every number of threads is beyond the cores, or no kernel serves.
    """
    notes: list[str] = []
    found: list[tuple[str, Experiment]] = []
    kind = experiment.on().target.kind
    measured = _for(experiment, kind)
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
    kinds = sorted({k for name in experiment.kernels for k in registry.kernel(name).target_kinds})
    return f"its kernels are for {' and '.join(kinds)}, not {kind}: name others under 'kernels'"


def _for(experiment: Experiment, kind: str) -> Experiment | None:
    """The experiment with the kernels that serve a kind of targets; `None` where it names others only."""
    mine = tuple(name for name in experiment.kernels if kind in registry.kernel(name).target_kinds)
    if experiment.kernels and not mine:
        return None
    return replace(experiment, kernels=mine)
