"""Who runs a whole model: ONNX Runtime with several options, and the lab; others are in `peers.py`."""

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner import registry
from tuner.core.activations import ACTIVATIONS
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.kernel import kind_of, unfrozen
from tuner.core.workload import Workload
from tuner.engine.program.load import load_rows, one_state
from tuner.engine.program.tuned_kernel import TunedKernel
from tuner.engine.tuning.campaign import default_protocol
from tuner.model.executor import Executor
from tuner.model.graph import Graph
from tuner.model.guards import ModelError
from tuner.model.int8_residuals import RESIDUAL
from tuner.model.integer_moves import with_integer_moves
from tuner.model.layer import Layer
from tuner.model.layers import find_layers
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import bound_run, run, session
from tuner.model.signed import signed

if TYPE_CHECKING:
    from tuner.store.records import BestRow
    from tuner.store.store import Store

OURS = "tuned kernels"
RUNTIME = "onnxruntime"
# Settings besides the default that help some models: outputs and inputs bound, threads that sleep instead of
# spinning, work cut into smaller pieces for threads that differ.
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "onnxruntime bound": {},
    "onnxruntime dynamic blocks": {"session__dynamic_block_base": "4"},
    "onnxruntime no spinning": {"session__intra_op__allow_spinning": "0"},
}
# Dimensions that a batch changes: configurations of another batch may serve.
_BATCHED = frozenset({"n", "m", "b"})
# What was a node behind a layer before kernels had it.
_ELSEWHERE = ("residual", RESIDUAL, *ACTIVATIONS)


@dataclass(frozen=True)
class Contestant:
    """One way to run a model.

    Attributes:
        name: for tables.
        call: one run on the inputs it was made with; returns the outputs, whose memory it may use again.
        note: what is to be known of it.
    """

    name: str
    call: Callable[[], Sequence[np.ndarray]]
    note: str = ""


def runtimes(model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], threads: int) -> list[Contestant]:
    """ONNX Runtime with its defaults first, then with other options, inputs and outputs bound.

    Raises:
        ModelError: it cannot load the model.
    """
    plain = session(model, threads)
    found = [Contestant(RUNTIME, lambda: run(plain, inputs))]
    for name, config in OPTIONS.items():
        found.append(Contestant(name, _bound(session(model, threads, **config), graph, inputs)))
    return found


def _bound(made: Any, graph: Graph, inputs: Mapping[str, np.ndarray]) -> Callable[[], Sequence[np.ndarray]]:
    binding = made.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    outputs: list[np.ndarray] = []
    for name in graph.outputs:
        value = graph.value(name)
        if value.shape is None:
            binding.bind_output(name)
            outputs = []
            break
        outputs.append(np.empty(value.shape, value.dtype))
        binding.bind_output(name, "cpu", 0, outputs[-1].dtype, value.shape, outputs[-1].ctypes.data)
    if len(outputs) < len(graph.outputs):
        return lambda: run(made, inputs)

    again = bound_run(made, binding)

    def call() -> Sequence[np.ndarray]:
        again()
        return outputs

    return call


@dataclass(frozen=True)
class Ours:
    """The lab's way to run a model.

    Attributes:
        contestant: to be timed.
        executor: what it calls.
        exact, near: layers with a kernel tuned for this very workload, or for another batch, or for weights
            that may change, or, of quantized ones, for another size.
        left: layers that ONNX Runtime keeps, as nothing is stored for them.
        model, graph: what it runs; of a quantized model not what it was given.
        chosen: the kernel of each layer that one computes.
    """

    contestant: Contestant
    executor: Executor
    exact: int
    near: int
    left: int
    model: Any
    graph: Graph
    chosen: Sequence[tuple[Layer, TunedKernel]]

    def without(self, workload: Workload, inputs: Mapping[str, np.ndarray], threads: int) -> "Ours | None":
        """The same with the layers of a workload left to ONNX Runtime; `None` where no kernel is left.

        Raises:
            TunerError: as `ours`.
        """
        kept = [pair for pair in self.chosen if pair[0].workload != workload]
        return _made(self.model, self.graph, inputs, kept, self.left, threads) if kept else None


def ours(
    model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], store: "Store", device: Device, threads: int
) -> Ours:
    """The graph run with the best stored kernel of each layer; a quantized one with int8 activations.

    Raises:
        TunerError: nothing is stored of any layer (says what to run), a kernel does not load, or the model
            cannot be run by parts.
    """
    changed, again = of_integers(model, graph)
    if changed is not model:
        with contextlib.suppress(ModelError):  # an operator that ONNX Runtime has for uint8 only
            return _ours(changed, again, inputs, store, device, threads)
    return _ours(model, graph, inputs, store, device, threads)


def of_integers(model: Any, graph: Graph) -> tuple[Any, Graph]:
    """A quantized model as kernels and programs take it: integers are moved as they are, and are int8.

    Args:
        model: the `ModelProto` of `graph`; not changed.
        graph: what was read of it.

    Returns:
        Both anew; the same ones where nothing is quantized.
    """
    moved = with_integer_moves(model, graph)
    between = graph if moved is model else graph_of(moved, graph.path, graph.dims)
    changed, values = signed(moved, between)
    return changed, graph_of(changed, graph.path, graph.dims) if values else between


def _ours(
    model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], store: "Store", device: Device, threads: int
) -> Ours:
    layers = [layer for layer in find_layers(graph, device.target_for(threads)).layers if layer.runs]
    known: dict[Workload, TunedKernel | None] = {}
    rows: dict[str, list[BestRow]] = {}
    for layer in layers:
        workload = layer.workload
        if workload not in known:
            if workload.operator not in rows:
                rows[workload.operator] = store.best(
                    workload.operator, None, device.fingerprint, threads=threads
                )
            known[workload] = _kernel(layer, rows[workload.operator], device)
    chosen: list[tuple[Layer, TunedKernel]] = []
    for layer in layers:
        kernel = known[layer.workload]
        if kernel is not None:
            chosen.append((layer, kernel))
    if not chosen:
        raise _untuned(graph.path, store, {layer.workload for layer in layers}, device, threads)
    return _made(model, graph, inputs, chosen, len(layers) - len(chosen), threads)


def require_tuned(path: Path, dims: Mapping[str, int], store: "Store", device: Device, threads: int) -> None:
    """Before anything of a model is built: something has to be stored for a layer of it, with these threads.

    Only for what `ours` would surely refuse: it looks at the layers' operators and dtypes, at no size, and
    says nothing of a model that it cannot read so.

    Raises:
        TunerError: nothing is; says what to run, and which threads there are kernels for.
    """
    graph = None
    for batch in (1, None):
        with contextlib.suppress(ModelError):
            graph = graph or graph_of(prepared(path, dims, batch), path, dims)
    workloads = {layer.workload for layer in find_layers(graph).layers if layer.runs} if graph else set()
    if workloads and threads not in _threads(store, workloads, device):
        raise _untuned(path, store, workloads, device, threads)


def _threads(store: "Store", workloads: Collection[Workload], device: Device) -> set[int]:
    """The numbers of threads that kernels of such workloads were measured with here."""
    kinds = {(w.operator, w.dtype) for w in workloads}
    rows = [row for name in {name for name, _ in kinds} for row in store.best(name, None, device.fingerprint)]
    return {row.threads for row in rows if (row.workload.operator, row.workload.dtype) in kinds}


def _untuned(
    path: Path, store: "Store", workloads: Collection[Workload], device: Device, threads: int
) -> TunerError:
    usual = default_protocol(device).threads == threads
    others = sorted(_threads(store, workloads, device) - {threads})
    return TunerError(
        f"no kernel is tuned for {path.name}{'' if usual else f' on {threads} threads'}: run "
        f"'tuner model tune {path}{'' if usual else f' --threads {threads}'}' first"
        + (f", or give --threads {' or '.join(map(str, others))}, which is tuned" if others else "")
    )


def _made(
    model: Any, graph: Graph, inputs: Mapping[str, np.ndarray],
    chosen: Sequence[tuple[Layer, TunedKernel]], left: int, threads: int,
) -> Ours:  # fmt: skip
    executor = Executor(model, graph, chosen, threads)
    exact = sum(kernel.exact and kernel.workload == layer.workload for layer, kernel in chosen)
    note = (
        f"{len(chosen)} layers by kernels, {executor.programs} programs between them, "
        f"{executor.parts} parts by ONNX Runtime"
    )
    note += f" ({executor.missing})" if executor.missing else ""
    contestant = Contestant(OURS, lambda: executor(inputs), note)
    return Ours(contestant, executor, exact, len(chosen) - exact, left, model, graph, chosen)


def _kernel(layer: Layer, rows: "Sequence[BestRow]", device: Device) -> TunedKernel | None:
    """The kernel tuned for a workload, else one tuned for it at another batch, else one tuned for it with or
    without its sum and activation, which older databases have as nodes of their own; of a quantized layer
    else one of the nearest size; `None`: none is stored.

    Where the weights are frozen and nothing is tuned for that, each time one tuned for weights that may
    change, as what it is: it is given them in every call.

    A quantized layer that is left to ONNX Runtime is a part of its own between kernels, which takes several
    times what its product does: tuning gives none of its minutes to the smallest.
    """
    fitting: list[Callable[[Workload, Workload], bool]] = [
        lambda stored, wanted: stored == wanted, _alike, partial(_alike, apart=_ELSEWHERE),
        *([_same_taps] if layer.quantization is not None else []),
    ]  # fmt: skip
    for fits in fitting:
        for wanted in dict.fromkeys((layer.workload, unfrozen(layer.workload))):
            near = one_state([row for row in rows if fits(row.workload, wanted)])
            # Of another compiler is said once, not a line a layer; what does not load is as if not stored.
            with warnings.catch_warnings(), contextlib.suppress(TunerError):
                warnings.simplefilter("ignore")
                if near:
                    return load_rows(wanted, near, device, any_shape=True)
    return None


def _alike(stored: Workload, wanted: Workload, apart: Collection[str] = ()) -> bool:
    """Whether they differ in the batch and in the options `apart` alone."""
    if (stored.operator, stored.dtype) != (wanted.operator, wanted.dtype):
        return False
    options = [{k: v for k, v in w.options if k not in ("batch", *apart)} for w in (stored, wanted)]
    pairs = zip(stored.dims, wanted.dims, strict=True)
    return options[0] == options[1] and all(a == b or a[0] in _BATCHED for a, b in pairs)


def _same_taps(stored: Workload, wanted: Workload) -> bool:
    """Whether they multiply weights of the same taps, and both of one channel (depthwise) or neither."""
    return kind_of(stored) == kind_of(wanted) and _taps(stored) == _taps(wanted)


def _taps(workload: Workload) -> tuple[object, ...]:
    operator = registry.operator(workload.operator)
    shapes = [spec.shape for spec in operator.signature(workload) if spec.name in operator.weights]
    return tuple((shape[2:], shape[1] == 1) for shape in shapes if len(shape) > 1)
