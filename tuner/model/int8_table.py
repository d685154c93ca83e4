"""A float model beside its quantized one, layer by layer: which is faster, and what speaks for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.device import Device
from tuner.core.workload import Workload
from tuner.engine.program.load import one_state
from tuner.model.costs import layer_cost
from tuner.model.graph import Graph
from tuner.model.guards import ModelError
from tuner.model.int8_reasons import VNNI, Facts, reason
from tuner.model.layer import Layer
from tuner.model.layers import Layers, find_layers
from tuner.model.profile import Profile, profile
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs

if TYPE_CHECKING:
    from tuner.store.records import BestRow
    from tuner.store.store import Store


@dataclass(frozen=True)
class Side:
    """A layer in one of the two models.

    Attributes:
        workload: of the lab.
        runtime_s: seconds in ONNX Runtime's profile; 0 where that names none of its nodes.
        kernel: best one that is stored for this very workload; empty for none.
        kernel_s: its measured seconds.
        nbytes: of all its tensors once.
    """

    workload: Workload
    runtime_s: float
    kernel: str
    kernel_s: float | None
    nbytes: int


@dataclass(frozen=True)
class Pair:
    """One layer in both models.

    Attributes:
        name: of its first node in the float model.
        f32, int8: sides; `int8` is `None` where the quantized model has it in floats.
        wins: `f32`, `int8`, `even` (within 5%), or empty where a time is missing: by ONNX Runtime's times, or
            where both sides have a kernel, by the better of both.
        why: what speaks for that, by a rule from the facts of this row.
    """

    name: str
    f32: Side
    int8: Side | None
    wins: str
    why: str


@dataclass(frozen=True)
class Whole:
    """One of the two models as a whole, by ONNX Runtime.

    Attributes:
        model_s: median seconds of a run, measured without the profiler.
        rest_s: what is in no layer, by the profile.
        quantizing_s: quantizing and dequantizing that ONNX Runtime fused into nothing, by the profile.
    """

    model_s: float
    rest_s: float
    quantizing_s: float


@dataclass(frozen=True)
class Int8Table:
    """What was found.

    Attributes:
        pairs: layers in the float model's order.
        f32, int8: the models.
        vnni: whether the target multiplies groups of four int8 in one instruction.
        disturbed: what other programs took of the cores meanwhile; empty where that was little.
    """

    pairs: Sequence[Pair]
    f32: Whole
    int8: Whole
    vnni: bool
    disturbed: str = ""


@dataclass(frozen=True)
class _Opened:
    path: Path
    model: Any
    graph: Graph
    found: Layers

    @property
    def integers(self) -> list[int]:
        """Places of int8 layers."""
        return [place for place, layer in enumerate(self.found.layers) if layer.workload.dtype == "int8"]


def int8_table(
    paths: tuple[Path, Path], dims: Mapping[str, int], store: "Store | None", device: Device, threads: int,
    inputs: Path | None = None, tell: Callable[[str], None] = lambda _: None,
) -> Int8Table:  # fmt: skip
    """Profiles a float model and its quantized one, and pairs their layers.

    Args:
        paths: of the float and the quantized model.
        dims: sizes of symbolic dimensions of both.
        store: holds what was tuned; `None`: nothing was.
        device, threads: where, on how many.
        inputs: `.npz` file of inputs for the profile.
        tell: is told how it goes.

    Raises:
        ModelError: a model cannot be read or run, is not what its place says, or they have no layer in
            common.
        MissingExtra: `onnx` or `onnxruntime` is not installed.
    """
    target = device.target_for(threads)
    before, after = (_open(path, dims, target) for path in paths)
    if before.integers:
        raise ModelError(f"{before.path}: is quantized: give the float model first, then the quantized one")
    if not after.integers:
        raise ModelError(f"{after.path}: has no int8 layer: give the quantized model second")
    partners = match(before, after)
    if not partners:
        raise ModelError(f"{after.path}: none of its int8 layers is one of {before.path}: other models")
    told = []
    for each in (before, after):
        tell(f"{each.path.name}: ONNX Runtime profiles it")
        given = random_inputs(each.graph, 0, inputs)
        told.append(profile(each.model, each.graph, each.found, given, device, threads))
    vnni = any(feature in VNNI for feature in target.features)
    kernels = _stored(store, device, threads, [*before.found.counts, *after.found.counts])
    pairs = []
    for place, layer in enumerate(before.found.layers):
        f32 = _side(layer, told[0].layers[place], kernels)
        partner = partners.get(place)
        name = before.graph.nodes[layer.nodes[0]].name or f"{layer.workload.operator}#{layer.nodes[0]}"
        if partner is None:
            pairs.append(Pair(name, f32, None, "", "not an int8 layer in the quantized model"))
            continue
        int8 = _side(after.found.layers[partner], told[1].layers[partner], kernels)
        pairs.append(_pair(name, layer, f32, int8, told[1], partner, vnni))
    disturbed = next((each.disturbed for each in told if each.disturbed), "")
    return Int8Table(pairs, _whole(told[0]), _whole(told[1]), vnni, disturbed)


def _open(path: Path, dims: Mapping[str, int], target: Any) -> _Opened:
    model = prepared(path, dims, None, weights=True)
    graph = graph_of(model, path, dims)
    return _Opened(path, model, graph, find_layers(graph, target))


def match(before: Any, after: Any) -> dict[int, int]:
    """Places of the float model's layers and of the same layers in the quantized model.

    By the name of the product's node, which quantizers keep; those without one in their order, where operator
    and dimensions are the same.

    Args:
        before, after: with `graph`, `found` and `integers`.
    """
    found: dict[int, int] = {}
    named = {_product(after.graph, after.found.layers[place]): place for place in after.integers}
    left = set(after.integers)
    for place, layer in enumerate(before.found.layers):
        partner = named.get(_product(before.graph, layer), -1)
        if partner in left and _alike(layer, after.found.layers[partner]):
            found[place] = partner
            left.remove(partner)
    for place, layer in enumerate(before.found.layers):
        if place not in found:
            other = next((p for p in sorted(left) if _alike(layer, after.found.layers[p])), None)
            if other is not None:
                found[place] = other
                left.remove(other)
    return found


def _product(graph: Graph, layer: Layer) -> str:
    return graph.nodes[layer.nodes[0]].name or f"#{id(layer)}"


def _alike(one: Layer, other: Layer) -> bool:
    a, b = one.workload, other.workload
    return (a.operator, a.dims) == (b.operator, b.dims) and all(
        a.option(name, default) == b.option(name, default)
        for name, default in (("groups", 1), ("batch", 1), ("stride", 1))
    )


def _stored(
    store: "Store | None", device: Device, threads: int, workloads: Sequence[Workload]
) -> dict[Workload, tuple[str, float]]:
    """Name and measured seconds of the best kernel of each workload that has one."""
    from tuner import registry

    if store is None:
        return {}
    kinds = {w.operator for w in workloads}
    libraries = {
        k.name for kind in kinds for k in registry.kernels_of(kind, device.target.kind) if k.baseline
    }
    found: dict[Workload, tuple[str, float]] = {}
    for operator in sorted(kinds):
        rows: dict[Workload, list[BestRow]] = {}
        for row in store.best(operator, None, device.fingerprint, threads=threads):
            if row.kernel.name not in libraries:
                rows.setdefault(row.workload, []).append(row)
        for workload, mine in rows.items():
            fastest = min(one_state(mine), key=lambda row: row.interval.mid)
            found[workload] = (fastest.kernel.name, fastest.interval.mid)
    return found


def _side(layer: Layer, seconds: float, kernels: Mapping[Workload, tuple[str, float]]) -> Side:
    name, taken = kernels.get(layer.workload, ("", None))
    return Side(layer.workload, seconds, name, taken, layer_cost(layer)[1])


def _pair(
    name: str, layer: Layer, f32: Side, int8: Side, told: Profile, place: int, vnni: bool
) -> Pair:  # fmt: skip
    a, b = f32.runtime_s, int8.runtime_s
    if not a or not b:
        return Pair(name, f32, int8, "", "ONNX Runtime's profile names none of its nodes")
    if f32.kernel_s and int8.kernel_s:
        a, b = min(a, f32.kernel_s), min(b, int8.kernel_s)
    wins = "even" if max(a, b) <= 1.05 * min(a, b) else "int8" if b < a else "f32"
    by_runtime = b == int8.runtime_s
    facts = Facts(
        layer.workload, layer_cost(layer)[0], f32.nbytes, int8.nbytes, vnni,
        quantizing=told.quantizing[place] / b if by_runtime and told.quantizing else 0.0,
        floats=by_runtime and told.floats[place] if told.floats else False,
    )  # fmt: skip
    return Pair(name, f32, int8, wins, reason(wins, facts))


def _whole(told: Profile) -> Whole:
    return Whole(told.model_s, told.rest_s, told.quantizing_rest_s)
