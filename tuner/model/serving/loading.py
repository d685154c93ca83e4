"""A model's executors, one for each batch, made ahead; and the proof that rows of a batch are independent."""

import time
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.engine.tuning.campaign import default_protocol
from tuner.model.comparing import difference
from tuner.model.contestants import ours, require_tuned
from tuner.model.graph import Graph
from tuner.model.guards import ModelError, parse
from tuner.model.reading import graph_of, model_inputs, prepared
from tuner.model.runtime import random_inputs, run, run_beside, session
from tuner.model.serving.plan import least_waiting
from tuner.model.serving.protocol import DATATYPES, Signature, Tensor

if TYPE_CHECKING:
    from tuner.store.store import Store

Run = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
_SEED = 1
# Threads that go on spinning would take the cores from whoever reads requests; where one of them has its core
# taken away for a moment, the others take over from it what of an operator is not begun.
_BESIDE_OTHERS = {"session__force_spinning_stop": "1", "session__dynamic_block_base": "4"}
# Of each batch, to know what it takes.
_RUNS = 5


@dataclass(frozen=True)
class Made:
    """A model ready to run at one batch.

    Attributes:
        graph: with the batch in its shapes.
        run: gives the outputs in the model's order, in memory that the next run may write to.
        note: by what.
        seconds: that a run takes, the least of a few; 0: not known.
        memory: where it reads its inputs from, by name, if it has such a place: what is written there before
            a run, and given to it, is not copied.
        fill: writes arrays to the named input's place in `memory`, one behind the other, if there is that.
        overwriting: as `run`, but it may overwrite its inputs and copies less, if there is such a way.
    """

    graph: Graph
    run: Run
    note: str
    seconds: float = 0.0
    memory: Mapping[str, np.ndarray] = field(default_factory=dict)
    fill: Callable[[str, Sequence[np.ndarray]], None] | None = None
    overwriting: Run | None = None


class Served:
    """A model that is served; one run of each instance at a time.

    Args:
        name: that requests have in their addresses.
        path: of its file.
        made: by batch; a single one of batch 0 where the model has none.
        why_alone: why requests are not put together; empty where they are.
        others: further instances, each with memory of its own: what runs at the same time.

    Attributes:
        signature: what it takes and gives.
        batches: that are prepared, ascending; empty where the model has no batch.
        plan: which of them to run first, by how many rows wait (`least_waiting`).
        instances: how many batches run at the same time.
    """

    version = "1"

    def __init__(
        self, name: str, path: Path, made: Mapping[int, Made], why_alone: str = "",
        others: Sequence[Mapping[int, Made]] = (),
    ) -> None:  # fmt: skip
        self.name, self.path, self.why_alone = name, path, why_alone
        self.batches = sorted(batch for batch in made if batch)
        self._made = [dict(one) for one in (made, *others)]
        self.instances = len(self._made)
        self.plan = least_waiting({b: made[b].seconds for b in self.batches}) if self.batches else [0]
        self.note = made[max(made)].note
        self.signature = _signature(made[max(made)].graph, max(made))
        self._inputs = [
            {
                batch: dict(one[batch].memory)
                or {t.name: np.zeros((batch, *(t.shape or ())), t.dtype) for t in self.signature.inputs}
                for batch in self.batches
            }
            for one in self._made
        ]

    def gather(
        self, given: Sequence[Mapping[str, np.ndarray]], rows: int, instance: int = 0
    ) -> tuple[Mapping[str, np.ndarray], int]:
        """Puts requests together; the next call for this instance, and its run, write to what is returned.

        Args:
            given: inputs of each request, in order.
            rows: of all of them.
            instance: that is going to run them.

        Returns:
            Inputs of the smallest prepared batch that holds the rows, and that batch. Rows that are left over
            repeat the last one: they are values that the model takes.
        """
        if not self.batches:
            return given[0], 0
        batch = self.batches[bisect_left(self.batches, rows)]
        if len(given) == 1 and rows == batch:
            return given[0], batch
        inputs = self._inputs[instance][batch]
        fill = self._made[instance][batch].fill
        for name, array in inputs.items():
            parts = [one[name] for one in given]
            if fill is not None:
                fill(name, parts)
            else:
                np.concatenate(parts, out=array[:rows], casting="no")
            array[rows:] = array[rows - 1]
        return inputs, batch

    def run(self, batch: int, inputs: Mapping[str, np.ndarray], instance: int = 0) -> Sequence[np.ndarray]:
        """The outputs at a prepared batch, in memory that the next run of the instance may write to."""
        made = self._made[instance][batch]
        return (made.overwriting or made.run)(inputs)


def _signature(graph: Graph, batch: int) -> Signature:
    sides = []
    for names in (graph.inputs, graph.outputs):
        tensors = []
        for name in names:
            value = graph.value(name)
            if value.dtype not in DATATYPES:
                raise ModelError(
                    f"{graph.path}: {brief(name, 80)} is of a type that the protocol has no arrays for"
                )
            shape = value.shape
            tensors.append(Tensor(name, value.dtype, shape[1:] if batch and shape is not None else shape))
        sides.append(tuple(tensors))
    return Signature(sides[0], sides[1], batch)


@dataclass(frozen=True)
class Maker:
    """How models are run.

    Attributes:
        threads: of every model.
        device: whose tuned kernels.
        store: where they are; `None`: all by ONNX Runtime.
    """

    threads: int
    device: Device
    store: "Store | None"

    def check(self, path: Path, dims: Mapping[str, int]) -> None:
        """What can be known before anything is made; raises `TunerError` as `make` would."""
        if self.store is not None:
            known = symbols(path)
            own = {symbol: size for symbol, size in dims.items() if symbol in known}
            require_tuned(path, own, self.store, self.device, self.threads)

    def make(self, path: Path, dims: Mapping[str, int], batch: int | None) -> Made:
        """A model at one batch; `None` as the file says.

        Raises:
            TunerError: it cannot be read or run; nothing is tuned for it; the tuned kernels' outputs are not
                those of ONNX Runtime.
        """
        model = prepared(path, dims, batch, weights=True)
        graph = graph_of(model, path, dims)
        if self.store is None:
            made = session(model, self.threads, **_BESIDE_OTHERS)
            return Made(graph, lambda inputs: run_beside(made, inputs), "ONNX Runtime")
        found = ours(model, graph, {}, self.store, self.device, self.threads)
        if batch in (None, 1):
            self._check(model, graph, found.executor)
        one = found.executor
        return Made(
            graph, one, found.contestant.note, memory=one.memory, fill=one.fill,
            overwriting=partial(one, overwrite=True),
        )  # fmt: skip

    def _check(self, model: Any, graph: Graph, executor: Run) -> None:
        inputs = random_inputs(graph, _SEED)
        apart = difference(executor(inputs), run(session(model, self.threads), inputs))
        if apart > 1:
            raise ModelError(
                f"{graph.path}: the tuned kernels' outputs are {apart:.3g} times as far from ONNX Runtime's "
                "as may be: tune it again, or give --executor onnxruntime"
            )


def threads_each(device: Device, threads: int | None, instances: int) -> int:
    """Threads of each run.

    Args:
        device: that runs.
        threads: as the user says; `None`: all cores, each instance its part of them.
        instances: that run at a time.

    Raises:
        InvalidSetting: more threads than cores.
        TunerError: more instances than cores, or threads for all of them.
    """
    cores = default_protocol(device).threads
    each = default_protocol(device, threads=threads or max(1, cores // instances)).threads
    if instances > 1 and instances * each > cores:
        raise TunerError(
            f"--instances {instances} of {each} threads: {cores} cores are there, for {cores // each} of them"
        )
    return each


def load(
    name: str, path: Path, dims: Mapping[str, int], most_batch: int, maker: Maker,
    tell: Callable[[str], None] = lambda _: None, instances: int = 1,
) -> Served:  # fmt: skip
    """Makes a model's executors.

    A model has a batch where the first dimension of each input is symbolic or 1, it stays the first dimension
    of everything that comes and goes, and rows prove to be independent (`rows_touch`). At others requests run
    one by one, at the shapes the file says.

    Args:
        name: of the model.
        path: of its file.
        dims: sizes of symbolic dimensions; one that is not the model's does not matter.
        most_batch: largest batch; prepared are powers of two below it, and itself.
        maker: how it is run.
        tell: is told what takes long.
        instances: how many batches are to run at a time.

    Raises:
        TunerError: as `Maker.make`.
    """
    firsts, known = _dimensions(path)
    own = {symbol: size for symbol, size in dims.items() if symbol in known}
    why = (
        f"input {brief(firsts[0], 80)} has a first dimension that is neither symbolic nor 1" if firsts else ""
    )
    if given := [s for s in own if known[s]]:
        why = f"--dim gives {given[0]}, the first dimension, a size"
    if not why:
        why, made = _batched(path, own, most_batch, maker, lambda text: tell(f"{name}: {text}"))
        if not why:
            others = _others(path, own, list(made), maker, instances, lambda text: tell(f"{name}: {text}"))
            return Served(name, path, made, others=others)
    try:
        alone = [{0: maker.make(path, own, None)} for _ in range(instances)]
        return Served(name, path, alone[0], why, alone[1:])
    except ModelError as error:
        raise ModelError(f"{error} (requests cannot be put into batches: {why})") from None


def _others(
    path: Path, dims: Mapping[str, int], batches: Sequence[int], maker: Maker, instances: int,
    tell: Callable[[str], None],
) -> list[dict[int, Made]]:  # fmt: skip
    """Further instances, made as the first one that was proven: the same kernels and weights."""
    found = []
    for number in range(1, instances):
        tell(f"instance {number + 1} of {instances} is prepared")
        found.append({batch: maker.make(path, dims, batch) for batch in batches})
    return found


def symbols(path: Path) -> set[str]:
    """Names of the symbolic dimensions of a model's inputs.

    Raises:
        ModelError: the file is not what `guards` lets pass.
    """
    return set(_dimensions(path)[1])


def _dimensions(path: Path) -> tuple[list[str], dict[str, bool]]:
    """Inputs whose first dimension is missing or not 1; symbols, and whether each is an input's first."""
    fixed, known = [], dict[str, bool]()
    for value in model_inputs(parse(path).graph):
        shape = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(shape):
            if not dim.HasField("dim_value") or dim.dim_value < 0:
                symbol = dim.dim_param or f"{value.name}.{axis}"
                known[symbol] = known.get(symbol, False) or axis == 0
        if not len(shape) or (shape[0].HasField("dim_value") and shape[0].dim_value not in (0, 1, -1)):
            fixed.append(value.name)
    return fixed, known


def _batched(
    path: Path, dims: Mapping[str, int], most: int, maker: Maker, tell: Callable[[str], None]
) -> tuple[str, dict[int, Made]]:
    """Executors of all batches, and why there are none."""
    sizes = sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most})
    made: dict[int, Made] = {}
    for batch in sizes:
        tell(f"batch {batch} is prepared")
        try:
            made[batch] = maker.make(path, dims, batch)
        except ModelError as error:
            if batch == 1:
                raise
            return f"it cannot be run at batch {batch}: {error}", {}
        if why := _other_shapes(made[batch].graph, batch, made[1].graph):
            return why, {}
    try:
        why = rows_touch(made[most].graph, {batch: one.run for batch, one in made.items()})
    except Exception as error:  # ONNX Runtime's own kinds, from C++
        why = f"it fails on random rows: {brief(str(error), 200)}"
    return why, {} if why else {batch: _timed(one) for batch, one in made.items()}


def _timed(made: Made) -> Made:
    """With the seconds of a run: the least of a few, which is what it takes when nothing disturbs it."""
    inputs, taken = random_inputs(made.graph, _SEED), []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        made.run(inputs)
        taken.append(time.perf_counter() - begun)
    return replace(made, seconds=min(taken))


def _other_shapes(graph: Graph, batch: int, single: Graph) -> str:
    for name in (*graph.inputs, *graph.outputs):
        shape, one = graph.shape(name), single.shape(name)
        if not shape or not one or shape[0] != batch or one[0] != 1 or shape[1:] != one[1:]:
            return f"the first dimension of {brief(name, 80)} is not the batch"
    return ""


def rows_touch(graph: Graph, made: Mapping[int, Run]) -> str:
    """Whether a row's outputs depend on what else is in its batch: how, or empty.

    Each batch is run on rows of different sizes, and each row is held against what it gives alone, within the
    tolerance of `difference`. Then the first row is all NaN, and no other row may change. So neither a sum
    over the batch nor a scale that is taken from all of it (dynamic quantization) is put together.

    Args:
        graph: of the largest batch.
        made: by batch, 1 among them.
    """
    most = max(made)
    if most == 1:
        return ""
    rows = _rows(graph, most)
    wanted = [
        [np.array(output) for output in made[1]({n: a[row : row + 1] for n, a in rows.items()})]
        for row in range(most)
    ]
    for batch, run_batch in made.items():
        if batch == 1:
            continue
        part = {name: array[:batch].copy() for name, array in rows.items()}
        for hostile in (False, True):
            if hostile:
                for array in part.values():
                    if array.dtype.kind in "fV":
                        array[0] = np.nan
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = [np.array(output) for output in run_batch(part)]
            for row in range(int(hostile), batch):
                if difference([o[row : row + 1] for o in got], wanted[row]) > 1:
                    return f"at batch {batch} a row's outputs depend on the other rows"
    return ""


def _rows(graph: Graph, most: int) -> dict[str, np.ndarray]:
    """Rows that differ: floats of three orders of magnitude, integers and booleans of 0 and 1."""
    rng, rows = np.random.default_rng(_SEED), random_inputs(graph, _SEED)
    for array in rows.values():
        if array.dtype.kind in "iub":
            drawn = rng.integers(0, 2, array.shape)
            drawn.reshape(most, -1)[:, 0] = 1
            array[...] = drawn
        else:
            size = 10.0 ** (np.arange(most) % 3 - 1)
            array[...] = (array.astype(np.float64).T * size).T.astype(array.dtype)
    return rows
