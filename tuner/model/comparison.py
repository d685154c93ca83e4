"""A model compared at several batches: who takes part, what is right, and the times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.engine.processes.locks import measuring
from tuner.engine.tuning.others import watching
from tuner.model.beside import Neighbour, measure
from tuner.model.comparing import AtBatch, check, race
from tuner.model.contestants import OURS, Contestant, ours, runtimes
from tuner.model.graph import Graph
from tuner.model.mixing import Left, mix
from tuner.model.peers import peers
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs
from tuner.model.steps import output_steps

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class ComparisonAsked:
    """What is compared, and how.

    Attributes:
        path, dims: of the model.
        batches: first dimension of its inputs; `None`: as the file says.
        rounds: turns of each contestant.
        inputs: `.npz` file of inputs; `None`: random ones.
        mix: leave layers to ONNX Runtime with which it is surely faster; else each tuned layer is a kernel's.
    """

    path: Path
    dims: Mapping[str, int] = field(default_factory=dict)
    batches: Sequence[int | None] = (None,)
    rounds: int = 15
    inputs: Path | None = None
    mix: bool = True


def contestants_of(
    model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], store: "Store", device: Device,
    threads: int, mixed: bool = False, tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Contestant], dict[str, str], dict[str, int], list[Left]]:  # fmt: skip
    """All that can run a model; who cannot and why; facts of the lab's executor; what it leaves to others."""
    contestants = runtimes(model, graph, inputs, threads)
    missing: dict[str, str] = {}
    facts: dict[str, int] = {}
    left: list[Left] = []
    try:
        mine = ours(model, graph, inputs, store, device, threads)
        if mixed:
            tell("tries which layers ONNX Runtime computes faster")
            mine, left = mix(mine, inputs, device, threads)
        contestants.append(mine.contestant)
        facts = {"exact": mine.exact, "near": mine.near, "left": mine.left,
                 "kernel_calls": mine.executor.kernels, "parts": mine.executor.parts,
                 "programs": mine.executor.programs,
                 "planned_bytes": mine.executor.planned_bytes}  # fmt: skip
    except TunerError as error:
        missing[OURS] = str(error)
    others, absent = peers(model, graph, inputs, threads)
    return contestants + others, missing | absent, facts, left


def compare_model(
    asked: ComparisonAsked, store: "Store", device: Device, threads: int,
    tell: Callable[[str], None] = lambda _: None, other: Neighbour | None = None,
) -> list[AtBatch]:  # fmt: skip
    """Compares all that can run a model, at each batch, alone on the device.

    Args:
        asked: the model.
        store: holds the tuned kernels.
        device, threads: where, on how many.
        tell: is told how it goes.
        other: a model that is run beside this one afterwards.

    Raises:
        ModelError: the model or its inputs cannot be read, or ONNX Runtime cannot run it.
        MissingExtra: `onnx` or `onnxruntime` is not installed.
    """
    found = []
    for batch in asked.batches:
        model = prepared(asked.path, asked.dims, batch, weights=True)
        graph = graph_of(model, asked.path, asked.dims)
        inputs = random_inputs(graph, 1, asked.inputs, batch)
        contestants, missing, facts, left = contestants_of(
            model, graph, inputs, store, device, threads, asked.mix, tell
        )
        tell(f"batch {batch or 'of the file'}: {len(contestants)} ways to run it, outputs are compared")
        with measuring(device.fingerprint):
            right, wrong = check(contestants, inputs.values(), output_steps(graph))
            others_took = watching(threads)
            timed = race(right, asked.rounds)
            taken = others_took()
            shared = measure([c for c, _ in right], other, asked.rounds) if other else []
        given_back = [(each.workload.key, each.count, each.gain) for each in left]
        found.append(AtBatch(batch, timed, wrong, missing, facts, taken, given_back, shared))
    return found
