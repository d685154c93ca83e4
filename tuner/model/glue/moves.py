"""Transpose, Concat, Split, Slice and nearest Resize: elements that only go to another place."""

import math
from collections.abc import Sequence

import numpy as np

from tuner.model.glue.program import Call, Program, of_node, operand
from tuner.model.graph import Graph, Node

_SIZES = (1, 2, 4, 8)
# Of a tensor; `moves.h` walks twice as many.
MOST_AXES = 8
# ONNX's modes of coordinates and rounding with which a nearest Resize by whole factors repeats elements.
_REPEATS = {
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_floor"),
}  # fmt: skip
OPERATORS = frozenset({"Transpose", "Concat", "Split", "Slice", "Resize", "Upsample"})


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous tensor, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def move(
    graph: Graph, names: tuple[str, str], sizes: Sequence[int], strides: tuple[Sequence[int], Sequence[int]],
    first: tuple[int, int] = (0, 0),
) -> Call:  # fmt: skip
    """Elements of one tensor to places of another one.

    Args:
        graph: of the model.
        names: of the source (a value or a constant) and of the result.
        sizes: of the axes that are walked.
        strides: of the source and of the result along them, in elements.
        first: the first element of the source and of the result.
    """
    numbers = _numbers(sizes, strides, first)
    size = graph.value(names[1]).itemsize
    return Call(f"move{size}", "", numbers, (operand(graph, names[0]), names[1]))


def _numbers(
    sizes: Sequence[int], strides: tuple[Sequence[int], Sequence[int]], first: tuple[int, int]
) -> tuple[int, ...]:
    """Axes joined, and in the order that `moves.h` wants them in."""
    axes = [
        (size, a, b) for size, a, b in sorted(zip(sizes, *strides, strict=True), key=lambda x: -x[2])
        if size > 1
    ]  # fmt: skip
    joined: list[tuple[int, int, int]] = []
    for size, a, b in axes:
        if joined and joined[-1][1:] == (a * size, b * size):
            joined[-1] = (joined[-1][0] * size, a, b)
        else:
            joined.append((size, a, b))
    if len(joined) > 2 and joined[-1][1] != 1:
        # The axis along which the source is contiguous comes just before the result's.
        place = next((i for i, (_, a, _) in enumerate(joined[:-1]) if a == 1), len(joined) - 2)
        joined.insert(len(joined) - 2, joined.pop(place))
    joined = [(1, 0, 0)] * (2 - len(joined)) + joined
    if joined[0][0] == 1 and joined[1][1:] == (1, 1) and joined[1][0] >= 4096:
        joined = _rows(joined[1][0])
    return (len(joined), *(n for column in zip(*joined, strict=True) for n in column), *first)


def copy_of(view: np.ndarray) -> Call | None:
    """A view copied to a C-contiguous array of its shape; `None` where elements have another size."""
    if view.itemsize not in _SIZES or not view.size:
        return None
    strides = [step // view.itemsize for step in view.strides]
    numbers = _numbers(view.shape, (strides, contiguous(view.shape)), (0, 0))
    return Call(f"move{view.itemsize}", "", numbers, (None, None))


def _rows(count: int) -> list[tuple[int, int, int]]:
    """One line as several, so that a team can share it."""
    rows = next(n for n in (64, 32, 16, 8, 4, 2, 1) if count % n == 0)
    return [(rows, count // rows, count // rows), (count // rows, 1, 1)]


def program(graph: Graph, node: Node) -> Program | None:
    """The program of a node, or `None` where it is none.

    Raises:
        TypeError, ValueError, LookupError: its attributes are not those of its operator.
    """
    outputs = [name for name in node.outputs if name]
    named = [node.input(0), *outputs] if node.op != "Concat" else [*node.inputs, *outputs]
    values = [graph.value(name) for name in named]
    alike = len({(v.dtype, v.itemsize) for v in values}) == 1 and values[0].itemsize in _SIZES
    ranks = [len(v.shape or ()) for v in values]
    if (
        node.domain
        or not alike
        or not all(v.elements for v in values)
        or not all(1 <= r <= MOST_AXES for r in ranks)
    ):
        return None
    calls = {
        "Transpose": _transpose, "Concat": _concat, "Split": _split, "Slice": _slice, "Resize": _resize,
        "Upsample": _resize,
    }[node.op](graph, node)  # fmt: skip
    return of_node(graph, node, calls) if calls else None


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    found = graph.shape(name)
    assert found is not None
    return found


def _transpose(graph: Graph, node: Node) -> list[Call]:
    shape, result = _shape(graph, node.input(0)), _shape(graph, node.outputs[0])
    axes = tuple(int(a) for a in node.attributes.get("perm", range(len(shape))[::-1]))
    if sorted(axes) != list(range(len(shape))) or tuple(shape[a] for a in axes) != result:
        raise ValueError("the permutation is none of the input's axes")
    own = contiguous(shape)
    strides = [own[a] for a in axes], contiguous(result)
    return [move(graph, (node.input(0), node.outputs[0]), result, strides)]


def concat_axis(graph: Graph, node: Node) -> int:
    """The axis of a Concat or Split, not negative.

    Raises:
        TypeError, ValueError: it is no axis.
    """
    rank, axis = len(_shape(graph, node.outputs[0])), int(node.attributes.get("axis", 0))
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def _concat(graph: Graph, node: Node) -> list[Call]:
    axis, result = concat_axis(graph, node), _shape(graph, node.outputs[0])
    strides, begin, calls = contiguous(result), 0, []
    for name in node.inputs:
        shape = _shape(graph, name)
        first = (0, begin * strides[axis])
        calls.append(move(graph, (name, node.outputs[0]), shape, (contiguous(shape), strides), first))
        begin += shape[axis]
    if begin != result[axis]:
        raise ValueError("the inputs are not as large as the output")
    return calls


def _split(graph: Graph, node: Node) -> list[Call]:
    axis, shape = concat_axis(graph, node), _shape(graph, node.input(0))
    strides, begin, calls = contiguous(shape), 0, []
    for name in node.outputs:
        if name:
            part = _shape(graph, name)
            first = (begin * strides[axis], 0)
            calls.append(move(graph, (node.input(0), name), part, (strides, contiguous(part)), first))
            begin += part[axis]
    return calls if begin == shape[axis] else []


def _slice(graph: Graph, node: Node) -> list[Call]:
    shape, result = _shape(graph, node.input(0)), _shape(graph, node.outputs[0])
    given = []
    for place, name in enumerate(("starts", "ends", "axes", "steps"), 1):
        found = graph.small.get(node.input(place)) if node.input(place) else node.attributes.get(name)
        if found is None and (place < 3 or node.input(place)):
            return []
        given.append(None if found is None else [int(n) for n in found])
    starts = given[0] or []
    axes = given[2] if given[2] is not None else list(range(len(starts)))
    steps = given[3] if given[3] is not None else [1] * len(starts)
    own, first = list(contiguous(shape)), 0
    strides = list(own)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        if step < 1:
            return []
        size = shape[axis]
        start = min(max(start + size if start < 0 else start, 0), size)
        if start + (result[axis] - 1) * step >= size:
            return []
        first += start * own[axis]
        strides[axis] = own[axis] * step
    names = (node.input(0), node.outputs[0])
    return [move(graph, names, result, (strides, contiguous(result)), (first, 0))]


def _resize(graph: Graph, node: Node) -> list[Call]:
    shape, result = _shape(graph, node.input(0)), _shape(graph, node.outputs[0])
    whole = len(shape) == len(result) and all(b % a == 0 for a, b in zip(shape, result, strict=True))
    nearest = _text(node, "mode", "nearest") == "nearest" and (node.op != "Resize" or _repeats(node))
    if not (whole and nearest):
        return []
    scales = graph.small.get(node.input(2 if node.op == "Resize" and graph.opset >= 11 else 1))
    if scales is None and "scales" in node.attributes:
        scales = node.attributes["scales"]
    factors = [b // a for a, b in zip(shape, result, strict=True)]
    if scales is not None and len(scales) and [float(s) for s in scales] != [float(f) for f in factors]:
        return []
    if _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch" or "axes" in node.attributes:
        return []
    sizes, source = list[int](), list[int]()
    for size, factor, stride in zip(shape, factors, contiguous(shape), strict=True):
        sizes += [size, factor]
        source += [stride, 0]
    return [move(graph, (node.input(0), node.outputs[0]), sizes, (source, contiguous(sizes)))]


def _text(node: Node, name: str, default: str) -> str:
    found = node.attributes.get(name, default)
    return found.decode() if isinstance(found, bytes) else str(found)


def _repeats(node: Node) -> bool:
    coordinates = _text(node, "coordinate_transformation_mode", "half_pixel")
    return (coordinates, _text(node, "nearest_mode", "round_prefer_floor")) in _REPEATS
