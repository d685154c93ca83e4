"""Every node of a graph: part of a layer that the lab tunes, or why it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner import registry
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.model import attentions, convolutions, int8_layers, int8_residuals, products
from tuner.model.graph import Graph, Node
from tuner.model.layer import Layer, NotTuned

CONSTANT = "constant: computed once, before the first run"
_KINDS = {
    "moves data, computes nothing": (
        "Reshape Transpose Concat Split Slice Gather GatherElements GatherND Unsqueeze Squeeze Flatten "
        "Expand Pad Identity Dropout Cast Shape Size Tile DepthToSpace SpaceToDepth ScatterND "
        "Resize Upsample Range"
    ),
    "pooling: no kernel of the lab": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool",
    "quantizes or dequantizes: a layer takes and gives integers": (
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear"
    ),
    "element by element or pooling of integers: no kernel of the lab": (
        "QLinearAdd QLinearMul QLinearSigmoid QLinearLeakyRelu QLinearConcat QLinearSoftmax "
        "QLinearAveragePool QLinearGlobalAveragePool QLinearReduceMean QLinearWhere"
    ),
    "quantized in a way that no int8 kernel of the lab has": (
        "DynamicQuantizeMatMul MatMulIntegerToFloat MatMulNBits QAttention DynamicQuantizeLSTM "
        "QMoE MatMulBnb4 GatherBlockQuantized QEmbedLayerNormalization QOrderedMatMul"
    ),
    "has bodies, which are not looked into": "If Loop Scan",
    "recurrent: no kernel of the lab": "LSTM GRU RNN",
    "no kernel of the lab": "ConvTranspose Einsum DeformConv FusedConv FusedMatMul FusedGemm",
    "normalisation: no kernel of the lab": (
        "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization LRN "
        "SkipLayerNormalization EmbedLayerNormalization SimplifiedLayerNormalization RMSNormalization"
    ),
    "a reduction: no kernel of the lab": (
        "Softmax LogSoftmax ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ArgMax ArgMin TopK"
    ),
}
_REASONS = {op: why for why, ops in _KINDS.items() for op in ops.split()}
ELEMENTWISE = "element by element: no kernel of the lab"


@dataclass(frozen=True)
class Layers:
    """What the lab has in a graph.

    Attributes:
        layers: in the order of their last node, in which they can run.
        reasons: of every node that is in none.
    """

    layers: Sequence[Layer]
    reasons: Mapping[int, str]
    counts: Mapping[Workload, int] = field(default_factory=dict)


def find_layers(graph: Graph, target: Target | None = None) -> Layers:
    """Recognizes the workloads of a graph.

    Args:
        graph: of the model.
        target: what kernels have to serve; `None`: they are not asked.
    """
    claimed: set[int] = set()
    layers: list[Layer] = []
    reasons: dict[int, str] = {}
    served: dict[Workload, str] = {}
    # Attention first: its products would be layers of their own.
    order = sorted(graph.nodes, key=lambda node: (node.op != "Softmax", node.index))
    for node in order:
        if node.index in claimed:
            continue
        if all(name in graph.constants for name in node.outputs if name):
            reasons[node.index] = CONSTANT
            continue
        try:
            found = _recognized(graph, node, claimed)
            for layer in found:
                if target is not None and (why := _unserved(layer.workload, target, served)):
                    raise NotTuned(why)
            found = [_with_sum(graph, layer, claimed, target, served) for layer in found]
        except (TypeError, ValueError, LookupError, ArithmeticError):
            # Attributes of a file may be of any type and length; what ONNX Runtime says of them is not asked.
            reasons[node.index] = "its attributes or shapes are not those of its operator"
            continue
        except NotTuned as error:
            reasons[node.index] = str(error)
            continue
        if not found:
            reasons[node.index] = _REASONS.get(node.op, ELEMENTWISE)
        for layer in found:
            claimed.update(layer.nodes)
            layers.append(layer)
    layers = int8_layers.alike(_with_dequantizers(graph, layers, claimed))
    reasons = {index: why for index, why in sorted(reasons.items()) if index not in claimed}
    layers.sort(key=lambda layer: max(layer.nodes))
    counts: dict[Workload, int] = {}
    for layer in layers:
        counts[layer.workload] = counts.get(layer.workload, 0) + 1
    return Layers(layers, reasons, counts)


def _with_sum(
    graph: Graph, layer: Layer, claimed: set[int], target: Target | None, served: dict[Workload, str]
) -> Layer:
    """An int8 layer with the sum of integers behind it, where there is one and a kernel has it."""
    found = int8_residuals.with_residual(graph, layer, claimed)
    if found is None or (target is not None and _unserved(found.workload, target, served)):
        return layer
    return found


def _with_dequantizers(graph: Graph, layers: Sequence[Layer], claimed: set[int]) -> list[Layer]:
    """DequantizeLinear nodes that int8 layers alone read, which take its input, are part of the first."""
    owner = {i: place for place, layer in enumerate(layers) if layer.quantization for i in layer.nodes}
    found = list(layers)
    for node in graph.nodes:
        name = node.outputs[0] if node.outputs else ""
        apart = name in graph.outputs or name in graph.constants
        if node.op != "DequantizeLinear" or node.index in claimed or apart:
            continue
        users = [owner.get(user.index) for user in graph.consumers.get(name, ())]
        places = [place for place in users if place is not None]
        if places and len(places) == len(users):
            first = found[places[0]]
            found[places[0]] = replace(first, nodes=(*first.nodes, node.index))
            claimed.add(node.index)
    return found


def _recognized(graph: Graph, node: Node, claimed: set[int]) -> list[Layer]:
    match (node.domain, node.op):
        case ("", "Conv" | "Gemm" | "MatMul") if found := int8_layers.recognize_between(graph, node):
            return [found]
        case ("", "QLinearConv" | "QLinearMatMul") | ("com.microsoft", "QGemm"):
            return [int8_layers.recognize_linear(graph, node)]
        case ("", "MatMulInteger" | "ConvInteger"):
            return [int8_layers.recognize_integer(graph, node)]
        case ("", "Conv"):
            return [convolutions.recognize(graph, node, claimed)]
        case ("", "Gemm"):
            return [products.recognize_gemm(graph, node, claimed)]
        case ("", "MatMul"):
            return [products.recognize_matmul(graph, node, claimed)]
        case ("", "Softmax"):
            found = attentions.recognize_chain(graph, node)
            return [found] if found else []
        case ("", "Attention"):
            return [attentions.recognize_operator(graph, node)]
        case ("com.microsoft", "MultiHeadAttention"):
            return [attentions.recognize_multi_head(graph, node)]
        case ("com.microsoft", "Attention"):
            return attentions.recognize_projected(graph, node)
    return []


def _unserved(workload: Workload, target: Target, known: dict[Workload, str]) -> str:
    """Why no kernel of the lab's own serves a workload; empty where one does."""
    if workload not in known:
        why = ["none is registered"]
        for kernel in registry.kernels_of(workload.operator, target.kind):
            if kernel.baseline:
                continue
            reason = kernel.unsupported(workload, target)
            if reason is None:
                why = []
                break
            why.append(f"{kernel.name}: {reason}")
        known[workload] = f"no kernel serves {workload.key} ({why[-1]})" if why else ""
    return known[workload]
