"""A quantized graph that moves integers as they are, with ONNX Runtime's QLinear operators written out.

What moves values, or takes the largest of some, does the same before a QuantizeLinear and behind it, since
rounding keeps the order. So what lies between a DequantizeLinear and a QuantizeLinear of the same scale
becomes one operator on integers; parts of a Concat that have other scales are quantized anew before it.
"""

from collections.abc import Mapping
from typing import Any

from tuner.model.graph import Graph
from tuner.model.guards import onnx_library
from tuner.model.quantization import BYTES, MOVERS

# Their inputs are (values, scale, zero point) for each operand, then those of the result.
_WRITTEN_OUT: Mapping[str, tuple[str, int]] = {
    "QLinearAdd": ("Add", 2), "QLinearMul": ("Mul", 2), "QLinearSigmoid": ("Sigmoid", 1),
    "QLinearLeakyRelu": ("LeakyRelu", 1), "QLinearGlobalAveragePool": ("GlobalAveragePool", 1),
    "QLinearAveragePool": ("AveragePool", 1),
}  # fmt: skip
_MOVERS = (MOVERS | {"Concat"}) - {"Split"}
# From here on MaxPool takes int8, and QuantizeLinear has what this writes.
_OPSET = 13


def with_integer_moves(model: Any, graph: Graph) -> Any:
    """The model with such nodes replaced; the same one where it has none.

    Args:
        model: the `ModelProto` of `graph`; not changed.
        graph: what was read of it.
    """
    if graph.opset < _OPSET or not any(node.op.startswith(("QuantizeL", "QLinear")) for node in graph.nodes):
        return model
    changed = type(model)()
    changed.CopyFrom(model)
    rewriting = _Rewriting(changed, graph)
    rewriting.write_out()
    rewriting.move()
    return changed if rewriting.done else model


class _Rewriting:
    """A graph that is being changed.

    Attributes:
        done: how many nodes were replaced.
    """

    def __init__(self, model: Any, graph: Graph) -> None:
        self._proto, self._graph, self._onnx = model.graph, graph, onnx_library()
        self.done = 0

    def write_out(self) -> None:
        """DequantizeLinear, an operator and QuantizeLinear in place of ONNX Runtime's QLinear operators."""
        nodes: list[Any] = []
        for node in self._proto.node:
            nodes += self._written_out(node) or [node]
        self._replace(nodes)

    def _written_out(self, node: Any) -> list[Any]:
        given, attributes = list(node.input), {a.name: a for a in node.attribute}
        channels_last = "channels_last" in attributes and attributes.pop("channels_last").i
        if node.domain != "com.microsoft" or channels_last:
            return []
        if node.op_type == "QLinearConcat":
            op, result, parts = "Concat", given[:2], given[2:]
            operands = [parts[place : place + 3] for place in range(0, len(parts), 3)]
        elif node.op_type in _WRITTEN_OUT:
            op, count = _WRITTEN_OUT[node.op_type]
            operands, result = [given[3 * i : 3 * i + 3] for i in range(count)], given[3 * count :]
        else:
            return []
        name, value = f"{node.name}_{op}", self._graph.value(node.output[0])
        # Without a zero point QuantizeLinear would make uint8.
        if value.shape is None or not (len(result) == 2 and result[1]):
            return []
        made = []
        for place, operand in enumerate(operands):
            to = f"{node.output[0]}_float{place}"
            given_names = [name for name in operand if name]
            made.append(self._onnx.helper.make_node("DequantizeLinear", given_names, [to], f"{name}_{place}"))
            self._float(to, self._graph.shape(operand[0]))
        sources = [each.output[0] for each in made]
        body = self._onnx.helper.make_node(op, sources, [f"{node.output[0]}_float"], name)
        body.attribute.extend(attributes.values())
        self._float(body.output[0], value.shape)
        last = self._onnx.helper.make_node(
            "QuantizeLinear", [body.output[0], *result], node.output, node.name
        )
        return [*made, body, last]

    def move(self) -> None:
        """Operators on integers in place of those between DequantizeLinear and QuantizeLinear."""
        nodes = list(self._proto.node)
        makers = {name: node for node in nodes for name in node.output}
        users: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                users.setdefault(name, []).append(node)
        kept: list[Any] = []
        outputs, gone = set(self._graph.outputs), set[str]()
        outputs |= {name for node in self._graph.nodes for name in node.captures}
        for node in nodes:
            behind = users.get(node.output[0], []) if len(node.output) == 1 else []
            movable = node.op_type in _MOVERS and node.domain in ("", "ai.onnx") and len(behind) == 1
            if movable and behind[0].op_type == "QuantizeLinear" and node.output[0] not in outputs:
                new = self._moved(node, behind[0], makers)
                if new:
                    kept += new
                    makers[behind[0].output[0]] = new[-1]
                    gone.add(behind[0].output[0])
                    continue
            kept.append(node)
        self._replace([n for n in kept if not (n.op_type == "QuantizeLinear" and n.output[0] in gone)])

    def _moved(self, node: Any, quantize: Any, makers: Mapping[str, Any]) -> list[Any]:
        """The operator on integers, behind what quantizes parts anew; none where a part is no integers'."""
        count = len(node.input) if node.op_type == "Concat" else 1
        parts = [makers.get(name) for name in node.input[:count]]
        if any(part is None or part.op_type != "DequantizeLinear" for part in parts):
            return []
        wanted = self._parameters(quantize)
        given = [self._parameters(part) for part in parts if part is not None]
        if wanted is None or any(each is None for each in given):
            return []
        made, sources = [], list[str]()
        value = self._graph.value(quantize.output[0])
        for place, (part, parameters) in enumerate(zip(parts, given, strict=True)):
            assert part is not None
            if parameters == wanted:
                sources.append(part.input[0])
                continue
            to = f"{quantize.output[0]}_part{place}"
            again = self._onnx.helper.make_node(
                "QuantizeLinear", [part.output[0], *quantize.input[1:]], [to], f"{quantize.name}_{place}"
            )
            again.attribute.extend(quantize.attribute)
            made.append(again)
            sources.append(to)
            kind = getattr(self._onnx.TensorProto, value.dtype.upper())
            self._typed(to, kind, self._graph.shape(part.input[0]))
        body = type(node)()
        body.CopyFrom(node)
        body.input[:count] = sources
        body.output[0] = quantize.output[0]
        return [*made, body]

    def _parameters(self, node: Any) -> tuple[bytes, int, str] | None:
        """Scale, zero point and type of one constant number each."""
        names = list(node.input)
        scale = self._graph.small.get(names[1])
        integers = node.output[0] if node.op_type == "QuantizeLinear" else names[0]
        dtype = self._graph.value(integers).dtype
        if scale is None or scale.size != 1 or dtype not in BYTES:
            return None
        if any(a.name in ("block_size", "precision") and a.i for a in node.attribute):
            return None
        zero = self._graph.scalar(names[2]) if len(names) > 2 and names[2] else 0.0
        return None if zero is None else (scale.tobytes(), int(zero), dtype)

    def _float(self, name: str, shape: tuple[int, ...] | None) -> None:
        self._typed(name, self._onnx.TensorProto.FLOAT, shape)

    def _typed(self, name: str, kind: int, shape: tuple[int, ...] | None) -> None:
        self._proto.value_info.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))

    def _replace(self, nodes: list[Any]) -> None:
        if len(nodes) != len(self._proto.node) or any(
            a is not b for a, b in zip(nodes, self._proto.node, strict=True)
        ):
            self.done += 1
        copies = [type(node)() for node in nodes]
        for copy, node in zip(copies, nodes, strict=True):
            copy.CopyFrom(node)
        del self._proto.node[:]
        self._proto.node.extend(copies)
