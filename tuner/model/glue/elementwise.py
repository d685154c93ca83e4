"""Chains of operators on corresponding elements, as one C++ function of them, in one pass."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tuner.model.constants import normalisation
from tuner.model.epilogues import clip_limits
from tuner.model.glue.linear import linear
from tuner.model.glue.program import Call, Folded, Operand, Program, constant, floats
from tuner.model.graph import Graph, Node
from tuner.model.quantization import BYTES, sum_factors

# Of a C++ function with so many operands; more would not fit in registers.
MOST_OPERANDS, MOST_AXES = 14, 8
_ONE = {
    "Relu": "relu_of({0})", "Sigmoid": "sigmoid_of({0})", "Tanh": "tanh_of({0})", "Erf": "erf_of({0})",
    "Sqrt": "sqrt_of({0})", "Exp": "exp_of({0})", "Abs": "abs_of({0})", "Neg": "-{0}",
    "Identity": "{0}", "Reciprocal": "1.0f / {0}",
    "HardSwish": "{0} * hard_sigmoid_of({0}, 1.0f / 6.0f, 0.5f)",
}  # fmt: skip
_TWO = {"Add": "{0} + {1}", "Sub": "{0} - {1}", "Mul": "{0} * {1}", "Div": "{0} / {1}"}
_MANY = {"Sum": "{0} + {1}", "Max": "larger_of({0}, {1})", "Min": "smaller_of({0}, {1})"}
_POWERS = {2.0: "{0} * {0}", 3.0: "{0} * {0} * {0}", 0.5: "half_power_of({0})", 1.0: "{0}"}
_SLOPES = {"LeakyRelu": ("leaky_of", ("alpha", 0.01)),
           "HardSigmoid": ("hard_sigmoid_of", ("alpha", 0.2), ("beta", 0.5))}  # fmt: skip
_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}


@dataclass
class _Text:
    """A C++ function that grows operator by operator.

    Attributes:
        output: its shape.
        inner: indices of the nodes that it computes.
        operands: with their shapes and types.
        numbers: C++ variables of operands that are one number, by the constant's name.
        names: C++ variables of values that are computed in it.
        lines: of it.
    """

    output: tuple[int, ...]
    inner: frozenset[int] = frozenset()
    operands: list[Operand] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def given(self, operand: Operand, shape: tuple[int, ...], dtype: str = "float32") -> str:
        """One more operand."""
        self.operands.append(operand)
        self.shapes.append(shape)
        self.types.append(_TYPES[dtype])
        return f"x{len(self.operands) - 1}"

    def of(self, graph: Graph, name: str) -> str:
        """The variable of a value or constant."""
        maker = graph.producers.get(name)
        if name not in self.names and maker is not None and read_quantized(graph, maker):
            # Integers are a quarter of the bytes of the floats that they stand for.
            _write(graph, maker, self)
        elif name not in self.names:
            found: Operand = constant(name) if name in graph.constants else name
            self.names[name] = self.given(found, graph.shape(name) or (), graph.value(name).dtype)
        return self.names[name]

    def number(self, value: float, name: str = "") -> str:
        """An operand that is one number, the same for all of a name: other values, the same function."""
        if name not in self.numbers:
            found = self.given(np.array([value], np.float32), ())
            if not name:
                return found
            self.numbers[name] = found
        return self.numbers[name]

    def linear(self, graph: Graph, node: Node) -> tuple[str, str]:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear."""
        found = linear(graph, node)
        assert found is not None, "it is covered"
        return self.number(found[0], node.input(1)), self.number(found[1], node.input(2))

    def line(self, expression: str, name: str) -> None:
        """The value is that."""
        variable = f"t{len(self.lines)}"
        self.lines.append(f"    const float {variable} = {expression};")
        self.names[name] = variable


def covered(graph: Graph, node: Node) -> bool:
    """Whether it is an operator on floats that a line of C++ is."""
    if node.domain or len([name for name in node.outputs if name]) != 1 or not node.outputs[0]:
        return False
    tensors = [name for name in node.inputs if name]
    if node.op in _CONVERSIONS:
        return _CONVERSIONS[node.op](graph, node)
    if not tensors or not floats(graph, node.outputs[0], *tensors):
        return False
    shape = graph.shape(node.outputs[0]) or ()
    if node.op == "BatchNormalization":
        running = not node.attributes.get("training_mode", 0) and node.attributes.get("spatial", 1) == 1
        return running and len(tensors) == 5 and all(name in graph.constants for name in tensors[1:])
    if not all(_fits(graph.shape(name) or (), shape) for name in tensors):
        return False
    if node.op == "Pow":
        return graph.scalar(node.input(1)) in _POWERS and graph.shape(node.input(0)) == shape
    if node.op == "Clip":
        return clip_limits(graph, node) is not None
    if node.op == "Gelu":
        return node.attributes.get("approximate", "none") in ("none", b"none")
    return node.op in {*_ONE, *_TWO, *_MANY, *_SLOPES} and (node.op not in _TWO or len(tensors) == 2)


def _converts(graph: Graph, node: Node, given: Container[str], made: Container[str]) -> bool:
    """Whether it makes elements of one of some types of elements of one of others."""
    values = graph.value(node.input(0)), graph.value(node.outputs[0])
    return values[0].dtype in given and values[1].dtype in made and bool(values[0].elements)


def _is_quantize(graph: Graph, node: Node) -> bool:
    return _converts(graph, node, ("float32",), BYTES) and linear(graph, node) is not None


def _is_dequantize(graph: Graph, node: Node) -> bool:
    return _converts(graph, node, BYTES, ("float32",)) and linear(graph, node) is not None


def _is_cast(graph: Graph, node: Node) -> bool:
    return _converts(graph, node, _TYPES, ("float32",))


_CONVERSIONS = {"QuantizeLinear": _is_quantize, "DequantizeLinear": _is_dequantize, "Cast": _is_cast}


def read_quantized(graph: Graph, node: Node) -> bool:
    """Whether whoever takes what a node makes may as well take the integers that it dequantizes."""
    return (
        node.op == "DequantizeLinear"
        and not node.domain
        and node.outputs[0] not in graph.constants
        and _is_dequantize(graph, node)
    )


def _fits(shape: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether it is broadcast to the output, with fewer or as many axes."""
    behind = output[len(output) - len(shape) :]
    return len(shape) <= len(output) and all(n in (1, m) for n, m in zip(shape, behind, strict=True))


def groups(graph: Graph, nodes: Sequence[Node], asked: Container[str] = ()) -> list[Program]:
    """Chains of such nodes, as long as they can be: what only a chain's own nodes use is never written.

    Args:
        graph: of the model.
        nodes: that may be taken, in the graph's order.
        asked: values that kernels take.
    """
    free = {node.index: node for node in nodes if covered(graph, node)}
    others = {node.index for node in nodes}
    found = []
    for last in reversed(list(free.values())):
        if last.index not in free:
            continue
        read = read_quantized(graph, last)
        if read and not _wanted(graph, last.outputs[0], others, asked):
            continue  # chains read what it dequantizes
        # Where others read the integers, they are written.
        alone = read and any(user.index not in others for user in graph.consumers.get(last.outputs[0], ()))
        chain = [last] if alone else _chain(graph, last, free, asked)
        made = _program(graph, chain)
        while made is None and len(chain) > 1:  # too many operands: what is before them is another chain
            chain = chain[len(chain) // 2 :] if len(chain) > 2 else chain[1:]
            chain = _closed(graph, chain)
            made = _program(graph, chain)
        for node in chain if made is not None else ():
            free.pop(node.index, None)
            others.discard(node.index)
        # Identity alone is another name for the same memory, but where it is asked for.
        if made is not None and (last.outputs[0] in graph.outputs or {n.op for n in chain} != {"Identity"}):
            found.append(made)
    return found[::-1]


def _wanted(graph: Graph, name: str, others: Container[int], asked: Container[str]) -> bool:
    """Whether somebody besides chains takes a value."""
    users = graph.consumers.get(name, ())
    return name in graph.outputs or name in asked or any(user.index in others for user in users)


def _chain(graph: Graph, last: Node, free: Mapping[int, Node], asked: Container[str]) -> list[Node]:
    shape, chain = graph.shape(last.outputs[0]), {last.index: last}
    changed = True
    while changed:
        changed = False
        for name in {name for node in chain.values() for name in node.inputs if name}:
            maker = graph.producers.get(name)
            if maker is None or maker.index in chain or maker.index not in free or name in graph.outputs:
                continue
            inside = name not in asked and all(user.index in chain for user in graph.consumers[name])
            if inside and graph.shape(name) == shape:
                chain[maker.index] = maker
                changed = True
    return [chain[index] for index in sorted(chain)]


def _closed(graph: Graph, chain: Sequence[Node]) -> list[Node]:
    """What remains a chain of its last node: nodes whose values only those behind them use."""
    kept = {chain[-1].index: chain[-1]}
    for node in reversed(chain[:-1]):
        if all(user.index in kept for user in graph.consumers.get(node.outputs[0], ())):
            kept[node.index] = node
    return [kept[index] for index in sorted(kept)]


def _program(graph: Graph, chain: Sequence[Node]) -> Program | None:
    output = chain[-1].outputs[0]
    inner = frozenset(node.index for node in chain)
    text = _Text(graph.shape(output) or (), inner)
    for node in chain:
        # What is dequantized is written where it is used, and a sum that is quantized with that.
        if node is chain[-1] or not (read_quantized(graph, node) or _is_term(graph, node, inner)):
            _write(graph, node, text)
    sizes, strides = collapsed(text.output, text.shapes)
    if len(text.operands) > MOST_OPERANDS or len(sizes) > MOST_AXES:
        return None
    flat = sum(1 << i for i, each in enumerate(strides) if each[-1])
    arguments = ", ".join(f"float x{i}" for i in range(len(strides)))
    body = "\n".join([*text.lines, f"    return {text.names[output]};"])
    function = f"static inline float function({arguments}) {{\n{body}\n}}\n"
    types = ", ".join((_TYPES[graph.value(output).dtype], *text.types))
    code = f'#include "elementwise.h"\n\n{function}ELEMENTWISE({flat}u, {types})\n'
    numbers = (len(sizes), *sizes, *(n for each in strides for n in each))
    inputs = tuple(dict.fromkeys(o for o in text.operands if isinstance(o, str)))
    call = Call("elementwise_call", code, numbers, (*text.operands, output))
    return Program(tuple(chain), inputs, (output,), [call])


def _write(graph: Graph, node: Node, text: _Text) -> None:
    out, names = node.outputs[0], [name for name in node.inputs if name]
    if node.op == "BatchNormalization":
        x, channels = text.of(graph, names[0]), len(text.output) - 2
        each = ((graph.shape(names[0]) or ())[1], *[1] * channels)
        scale, shift = (text.given(Folded(tuple(names[1:]), _affine(node, part)), each) for part in (0, 1))
        text.line(f"{x} * {scale} + {shift}", out)
        return
    if node.op == "QuantizeLinear":
        text.line(_quantized(graph, node, text), out)
        return
    first = text.of(graph, names[0])
    if node.op == "DequantizeLinear":
        scale, zero = text.linear(graph, node)
        text.line(f"({first} - {zero}) * {scale}", out)
    elif node.op == "Cast":
        text.names[out] = first
    elif node.op == "Clip":
        limits = clip_limits(graph, node)
        assert limits is not None, "it is covered"
        low, high = map(text.number, limits)
        text.line(f"clip_of({first}, {low}, {high})", out)
    elif node.op == "Pow":
        text.line(_POWERS[graph.scalar(names[1]) or 0.0].format(first), out)
    elif node.op == "Gelu":
        text.line(f"0.5f * {first} * (1.0f + erf_of({first} * {math.sqrt(0.5)!r}f))", out)
    elif node.op in _SLOPES:
        function, *attributes = _SLOPES[node.op]
        given = [text.number(float(node.attributes.get(name, d))) for name, d in attributes]  # type: ignore
        text.line(f"{function}({', '.join([first, *given])})", out)
    elif node.op in _ONE:
        text.line(_ONE[node.op].format(first), out)
    else:
        joined = (_TWO | _MANY)[node.op]
        text.names[out] = first
        for name in names[1:]:
            text.line(joined.format(text.names[out], text.of(graph, name)), out)


def _quantized(graph: Graph, node: Node, text: _Text) -> str:
    """What a QuantizeLinear computes; behind a sum of two quantized values the same as ONNX Runtime's sum."""
    found = linear(graph, node)
    assert found is not None, "it is covered"
    scale, zero = found
    low, high = (-128.0, 127.0) if graph.value(node.outputs[0]).dtype == "int8" else (0.0, 255.0)
    source, positive = _before_relu(graph, node.inputs[0], text.inner)
    terms = _terms(graph, source, text.inner)
    if terms is None:
        names = text.of(graph, node.inputs[0]), *text.linear(graph, node)
        return f"quantized_of({', '.join(names)}, {low}f, {high}f)"
    factors, zeros = sum_factors(((its_scale, its_zero) for _, its_scale, its_zero in terms), scale, zero)
    arguments = list[str]()
    for (value, *_), by in zip(terms, factors, strict=True):
        arguments += [text.of(graph, value), text.number(float(by))]
    # Rounding keeps the order: what a Relu cuts off before it is what lies under the zero point behind it.
    least = max(low, float(zero)) if positive else low
    return f"quantized_sum_of({', '.join(arguments)}, {text.number(float(zeros))}, {least}f, {high}f)"


def _before_relu(graph: Graph, name: str, inner: Container[int]) -> tuple[str, bool]:
    """What a value is the Relu of, where that is in the chain and nobody else uses it; whether it is one."""
    maker = graph.producers.get(name)
    if maker is None or not _is_relu(maker, inner) or graph.only_consumer(name) is None:
        return name, False
    return maker.inputs[0], True


def _is_relu(node: Node, inner: Container[int]) -> bool:
    return node.op == "Relu" and not node.domain and node.index in inner


def _is_term(graph: Graph, node: Node, inner: Container[int]) -> bool:
    """Whether a sum, or the Relu behind one, becomes part of the QuantizeLinear behind it."""
    user = graph.only_consumer(node.outputs[0])
    if node.op != "Relu" and user is not None and _is_relu(user, inner):
        user = graph.only_consumer(user.outputs[0])
    quantized = user is not None and user.op == "QuantizeLinear" and user.index in inner
    return quantized and _terms(graph, _before_relu(graph, node.outputs[0], inner)[0], inner) is not None


def _terms(graph: Graph, name: str, inner: Container[int]) -> list[tuple[str, float, float]] | None:
    """(integers, scale, zero point) of the two dequantized values of one shape that a value is the sum of.

    `None` of other values, and of a sum that is no node of the chain, as another program computes it then.
    """
    node = graph.producers.get(name)
    if node is None or node.index not in inner or node.domain or node.op not in ("Add", "Sum"):
        return None
    if graph.only_consumer(name) is None:
        return None
    makers = [graph.producers.get(each) for each in node.inputs]
    found = []
    for maker in makers:
        known = linear(graph, maker) if maker is not None and read_quantized(graph, maker) else None
        if maker is None or known is None or graph.shape(maker.outputs[0]) != graph.shape(name):
            return None
        found.append((maker.input(0), *known))
    return found if len(found) == 2 else None


def _affine(node: Node, part: int) -> Callable[..., np.ndarray]:
    """What computes scale (0) or shift (1) of a batch normalisation from its constants."""
    return lambda *given: normalisation(node, *given)[part].astype(np.float32)


def collapsed(
    output: tuple[int, ...], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """The output's axes, joined where all operands have neighbours alike, and the operands' strides.

    Args:
        output: shape that the operands are broadcast to.
        shapes: of the operands, C-contiguous, with fewer axes or as many.

    Returns:
        Sizes, at least one; strides in elements, 0 where an operand stands still.
    """
    full = [(*[1] * (len(output) - len(shape)), *shape) for shape in shapes]
    axes: list[tuple[int, tuple[bool, ...]]] = []
    for axis, size in enumerate(output):
        moves = tuple(shape[axis] != 1 for shape in full)
        if size == 1:
            continue
        if axes and axes[-1][1] == moves:
            axes[-1] = (axes[-1][0] * size, moves)
        else:
            axes.append((size, moves))
    axes = axes or [(1, (False,) * len(shapes))]
    strides = []
    for place in range(len(shapes)):
        step, own = 1, list[int]()
        for size, moves in reversed(axes):
            own.append(step if moves[place] else 0)
            step *= size if moves[place] else 1
        strides.append(tuple(own[::-1]))
    return [size for size, _ in axes], strides
