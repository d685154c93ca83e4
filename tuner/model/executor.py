"""A model run by tuned kernels, by programs between them, and by ONNX Runtime where there is neither."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.brief import brief
from tuner.core.errors import TunerError
from tuner.core.huge_pages import in_huge_pages
from tuner.core.kernel import FROZEN
from tuner.core.tensors import TensorSpec
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device
from tuner.engine.program.bound_call import BoundCall
from tuner.engine.program.tuned_kernel import TunedKernel
from tuner.model.constants import constant_arrays, constant_nodes, constants_of, sub_model, weights
from tuner.model.glue.found import programs
from tuner.model.glue.library import Library
from tuner.model.glue.placing import Placing, placing, without_copies
from tuner.model.glue.program import Call, Folded, Operand, Program
from tuner.model.glue.walk import joined
from tuner.model.graph import Graph
from tuner.model.guards import ModelError
from tuner.model.in_place import InPlace
from tuner.model.int8_weights import column_sums, computed_bias
from tuner.model.layer import Binding, Layer
from tuner.model.quantization import SHIFT
from tuner.model.runtime import bound_run, session
from tuner.model.stages import VIEWS, Part, buffers, needs, rest_of, sources, stages

_ALIGNED = 64
# Parts that touch less than this run on one thread: waking a second one takes longer than their work.
_ONE_THREAD_BYTES = 2**18
# A kernel's threads and ONNX Runtime's take turns: one that waits must not spin where the other works.
# Between QuantizeLinear and DequantizeLinear: by default it computes int8 in floats on x86, uint8 not.
_SHARING = {"session__intra_op__allow_spinning": "0", "session__qdqisint8allowed": "1"}


class Executor:
    """A model ready to run; buffers are planned once, weights are laid out once.

    Values of the graph lie in memory that is allocated here and used again when nobody needs what is in it.
    Kernels are bound to it, and so are the programs (`glue`) and the sessions of ONNX Runtime that compute
    the nodes between them: no value is copied, but inputs on their way in, and a tensor whose axes a kernel
    wants in another order. What is concatenated is written where it belongs, where that is one piece.

    One run at a time. What a run returns is overwritten by the next.

    Args:
        model: the `ModelProto` with its weights.
        graph: what was read of it; all shapes between kernels and other nodes have to be known.
        kernels: a kernel for each layer that one computes; other layers are ONNX Runtime's.
        threads: of programs and of ONNX Runtime's parts.
        native: whether programs of ours compute what they can of the nodes between kernels.

    Attributes:
        parts: how many sessions of ONNX Runtime there are.
        programs: how many calls of programs of ours a run makes.
        kernels: how many kernel calls a run makes.
        missing: why there are no programs; empty where there are, or nothing to do for them.

    Raises:
        ModelError: a shape is known only when the model runs, or ONNX Runtime refuses a part.
        TunerError: a kernel cannot be loaded.
    """

    def __init__(
        self, model: Any, graph: Graph, kernels: Sequence[tuple[Layer, TunedKernel]], threads: int,
        native: bool = True,
    ) -> None:  # fmt: skip
        self._model, self._graph, self._threads, self.missing = model, graph, threads, ""
        self._library: Library | None = None
        layers = [layer for layer, _ in kernels]
        own = self._compiled(layers) if native else []
        order = [s for s in stages(graph, layers, own) if not _is_dead(s)]
        placed = placing(graph, order, sources(order))
        order = [without_copies(graph, s, placed) if isinstance(s, Program) else s for s in order]
        self._allocate(order, placed)
        wanted = set[str]().union(*(constants_of(graph, layer) for layer in layers))
        wanted |= set[str]().union(*(program.constants for program in own))
        wanted |= {name for name in graph.outputs if name in graph.constants}
        arrays = constant_arrays(model, graph, wanted)
        self._values |= {name: arrays[name] for name in graph.outputs if name in arrays}
        by_layer = {id(layer): kernel for layer, kernel in kernels}
        self._steps: list[Callable[[], object]] = []
        self._kept: list[Any] = []
        self._of_layers: list[tuple[Layer, slice]] = []
        self.parts = self.kernels = self.programs = 0
        for stage in order:
            if isinstance(stage, Part):
                self._steps.append(self._part(stage))
                self.parts += 1
            elif isinstance(stage, Program):
                self._add_program(stage, arrays)
                self.programs += len(stage.calls)
            elif isinstance(stage, Layer):
                before = len(self._steps)
                self._add_layer(stage, by_layer[id(stage)], arrays)
                self._of_layers.append((stage, slice(before, len(self._steps))))
                self.kernels += 1
        self._moved = self._movable(placed)
        self._joined = joined(self._steps, self._library.walk) if self._library else self._steps

    def __call__(self, inputs: Mapping[str, np.ndarray], overwrite: bool = False) -> list[np.ndarray]:
        """The outputs in the model's order, in memory that the next run writes to.

        Args:
            inputs: by name.
            overwrite: whether the run may write to them. Then one that is C-contiguous and begins at a cache
                line is read where it lies and not copied, if all steps of a run are C functions.

        Raises:
            KeyError: an input is missing.
            ValueError: one has another shape.
            RuntimeError: a kernel failed: which layer's, and its status.
            ModelError: ONNX Runtime fails to run a part.
        """
        movable = self._moved if overwrite else {}
        try:
            for name in self._graph.inputs:
                own, given = self._values[name], inputs[name]
                if given is own:
                    continue
                if name in movable and _in_place(given, own):
                    movable[name].read(given)
                else:
                    np.copyto(own, given, casting="no")
            for step in self._joined:
                step()
        finally:
            for moved in movable.values():
                moved.read(None)
        return [self._values[name] for name in self._graph.outputs]

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """Where a run reads its inputs from, by name; given to a run as they are, they are not copied.

        A run may write other values there: they are to be filled before each.
        """
        return {name: self._values[name] for name in self._graph.inputs}

    def fill(self, name: str, parts: Sequence[np.ndarray]) -> None:
        """Puts arrays behind each other where a run reads an input from (`memory`).

        Args:
            name: of the input.
            parts: rows of it, of its dtype; no more than it has.

        Raises:
            ValueError: they do not fit.
        """
        to = self._values[name]
        if self._library is not None and all(part.flags.c_contiguous for part in parts):
            self._library.gather(to, parts)
        else:
            np.concatenate(parts, out=to[: sum(map(len, parts))], casting="no")

    def _movable(self, placed: Placing) -> dict[str, InPlace]:
        """Inputs that a run can read elsewhere: only C functions read them, and no output lies in one."""
        calls = [step for step in self._steps if isinstance(step, BoundCall) and step.function]
        if len(calls) < len(self._steps):
            return {}
        return {
            name: InPlace(calls, self._values[name])
            for name in self._graph.inputs
            if placed.where(name) == (name, 0)
            and not any(np.may_share_memory(self._values[name], self._values[o]) for o in self._graph.outputs)
        }

    def layer_seconds(self, inputs: Mapping[str, np.ndarray], runs: int = 7) -> dict[Workload, float]:
        """Seconds that a run spends in the kernels of each workload, copies to and from them included.

        The sum over a workload's layers of medians over the runs, timed within whole runs, after one that is
        not counted.
        """
        taken: list[list[float]] = [[] for _ in self._steps]
        for _ in range(runs + 1):
            for name in self._graph.inputs:
                np.copyto(self._values[name], inputs[name], casting="no")
            for step, times in zip(self._steps, taken, strict=True):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
        found: dict[Workload, float] = {}
        for layer, steps in self._of_layers:
            spent = sum(statistics.median(times[1:]) for times in taken[steps])
            found[layer.workload] = found.get(layer.workload, 0.0) + spent
        return found

    def _compiled(self, layers: Sequence[Layer]) -> list[Program]:
        """The programs between kernels, compiled; none where that cannot be, and `missing` says why."""
        asked = {name for layer in layers for name in needs(layer)}
        found = programs(self._graph, rest_of(self._graph, layers), VIEWS, asked)
        try:
            calls = [call for program in found for call in program.calls]
            self._library = Library(calls, default_device("cpu").target.features)
        except TunerError as error:
            self.missing = f"no programs between kernels: {str(error).splitlines()[0][:200]}"
            return []
        return found

    def _add_program(self, program: Program, arrays: Mapping[str, np.ndarray]) -> None:
        assert self._library is not None
        for call in program.calls:
            bound = [self._operand(operand, arrays) for operand in call.operands]
            self._steps.append(self._library.bound(call, bound, self._threads))

    def _copy(self, to: np.ndarray, source: np.ndarray) -> Callable[[], object]:
        """A view, its axes in another order, copied to an array whose elements follow each other."""
        made = None
        if self._library is not None and to.flags.c_contiguous:
            made = self._library.copied(source, to, self._threads)
        return (lambda: np.copyto(to, source)) if made is None else made

    def _shift(self, to: np.ndarray, source: np.ndarray) -> Callable[[], object]:
        """uint8 less 128 as int8, and back: the highest bit is another."""
        if self._library is None:
            return lambda: np.bitwise_xor(source, np.int8(-SHIFT), out=to)
        return self._library.bound(Call("flip", "", (to.size,), (None, None)), (source, to), self._threads)

    def _operand(self, operand: Operand, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
        if isinstance(operand, str):
            return self._values[operand]
        if isinstance(operand, Folded):
            return np.ascontiguousarray(operand.compute(*(arrays[name] for name in operand.names)))
        return operand

    def _allocate(self, order: Sequence[Any], placed: Placing) -> None:
        graph = self._graph
        names = dict.fromkeys(graph.inputs)
        for stage in order:
            if isinstance(stage, Part | Program):
                names |= dict.fromkeys((*stage.inputs, *stage.outputs))
            elif isinstance(stage, Layer):
                names[stage.output] = None
            else:
                names[stage.value] = None
        needed = {}
        for name in names:
            value = graph.value(name)
            if value.nbytes is None:
                raise ModelError(
                    f"{graph.path}: the shape or type of {brief(name, 80)} is known only when the model "
                    "runs: it cannot be run by parts"
                )
            needed[name] = value.nbytes
        pieces = buffers(graph, order, needed, placed)
        sizes: dict[int, int] = {}
        for name, piece in pieces.items():
            sizes[piece] = max(sizes.get(piece, 0), needed.get(name, 0))
        memory = _cut(sizes)
        self.planned_bytes = sum(sizes.values())
        self._values: dict[str, np.ndarray] = {}
        for name, piece in pieces.items():
            value = graph.value(name)
            assert value.shape is not None
            begin = placed.where(name)[1]
            raw = memory[piece][begin : begin + needed[name]]
            self._values[name] = raw.view(value.dtype).reshape(value.shape)

    def _part(self, part: Part) -> Callable[[], object]:
        """A session of ONNX Runtime bound to the buffers."""
        graph = self._graph
        indices = [node.index for node in part.nodes]
        used = [name for node in part.nodes for name in (*node.inputs, *node.captures)]
        inner = sorted({*constant_nodes(graph, used), *indices})
        touched = sum(self._values[name].nbytes for name in (*part.inputs, *part.outputs))
        threads = 1 if touched < _ONE_THREAD_BYTES else self._threads
        model = sub_model(self._model, graph, inner, part.inputs, part.outputs)
        made = session(model, threads, **_SHARING)
        binding = made.io_binding()
        for names, bind in ((part.inputs, binding.bind_input), (part.outputs, binding.bind_output)):
            for name in names:
                array = self._values[name]
                kind: Any = array.dtype if array.dtype.kind != "V" else _type_of(self._model, name)
                bind(name, "cpu", 0, kind, array.shape, array.ctypes.data)
        self._kept.append(made)
        return bound_run(made, binding)

    def _add_layer(self, layer: Layer, kernel: TunedKernel, arrays: dict[str, np.ndarray]) -> None:
        """A kernel bound to the buffers, with permutations before and behind it where axes differ.

        Constant weights are laid out here, once, where the kernel does so ahead of its calls.
        """
        operator = registry.operator(layer.workload.operator)
        signature = operator.signature(layer.workload)
        specs = {spec.name: spec for spec in signature}
        tensors = weights(self._graph, layer, arrays)
        if tensors and kernel.workload.option(FROZEN, False):
            kept = {*operator.weights, *operator.beside_weights} & tensors.keys()
            kernel = kernel.with_weights(**{name: tensors.pop(name) for name in kept})
        for binding in layer.inputs:
            if binding.tensor in (*tensors, *kernel.weights):
                continue
            if computed_bias(binding, layer):
                tensors[binding.tensor] = self._correction(layer, arrays)
            else:
                tensors[binding.tensor] = self._given(binding, specs[binding.tensor])
        output = next(spec for spec in signature if spec.output)
        target = self._values[layer.output]
        shifted = target.dtype == np.uint8 and output.dtype == "int8"
        target = target.view(np.int8) if shifted else target
        result = target.reshape(output.shape) if layer.axes is None else None
        if result is None:
            shape = output.shape if layer.shape is None else layer.shape
            result = _empty(math.prod(output.shape), target.dtype).reshape(output.shape)
        call = kernel.bound({**tensors, output.name: result})
        self._steps.append(replace(call, name=f"layer {brief(layer.output, 80)} ({layer.workload.key})"))
        if layer.axes is not None:
            view = result.reshape(shape).transpose(layer.axes)
            self._steps.append(self._copy(target.reshape(view.shape), view))
        if shifted:
            self._steps.append(self._shift(target, target))

    def _correction(self, layer: Layer, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The bias that a zero point makes which each run computes: -zero * sum of the weights."""
        q = layer.quantization
        assert q is not None
        sums = column_sums(q, arrays[q.w.value])
        own, zero = _empty(sums.size, np.int32), self._values[q.x.computed].reshape(-1)
        shift = SHIFT if q.x.unsigned else 0
        self._steps.append(lambda: np.copyto(own, sums * (shift - int(zero[0])), casting="same_kind"))
        return own

    def _given(self, binding: Binding, spec: TensorSpec) -> np.ndarray:
        """A value as a kernel's input: a view of its buffer, or a copy made before each call."""
        array, shape = self._values[binding.value], spec.shape
        if array.dtype == np.uint8 and spec.dtype == "int8":
            own = _empty(array.size, np.int8).reshape(array.shape)
            self._steps.append(self._shift(own, array.view(np.int8)))
            array = own
        view = array if binding.shape is None else array.reshape(binding.shape)
        if binding.axes is None:
            return view.reshape(shape)
        view = view.transpose(binding.axes)
        own = _empty(view.size, view.dtype).reshape(view.shape)
        self._steps.append(self._copy(own, view))
        return own.reshape(shape)


def _in_place(given: np.ndarray, own: np.ndarray) -> bool:
    """Whether functions that were bound to an array of ours may read another one in its place."""
    alike = (given.shape, given.dtype) == (own.shape, own.dtype) and given.flags.c_contiguous
    return alike and given.ctypes.data % _ALIGNED == 0


def _is_dead(stage: Any) -> bool:
    """Nodes whose results nobody asks for."""
    return isinstance(stage, Part) and not stage.outputs


def _aligned(nbytes: int) -> np.ndarray:
    """Bytes that begin at a multiple of a cache line and are all there: nothing is faulted in by a run."""
    raw = np.zeros(nbytes + _ALIGNED, np.uint8)
    begin = -raw.ctypes.data % _ALIGNED
    return raw[begin : begin + nbytes]


def _cut(sizes: Mapping[int, int]) -> dict[int, np.ndarray]:
    """Memory of so many bytes by name, which begins at a cache line, all of it in the same huge pages."""
    padded = {name: -(-size // _ALIGNED) * _ALIGNED for name, size in sizes.items()}
    whole, begin, found = in_huge_pages(sum(padded.values())), 0, {}
    for name, size in sizes.items():
        found[name] = whole[begin : begin + size]
        begin += padded[name]
    return found


def _empty(size: int, dtype: Any) -> np.ndarray:
    return _aligned(size * np.dtype(dtype).itemsize).view(dtype)


def _type_of(model: Any, name: str) -> int:
    """ONNX's number of a value's type, for those that NumPy has no letter for."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return next(int(v.type.tensor_type.elem_type) for v in values if v.name == name)
