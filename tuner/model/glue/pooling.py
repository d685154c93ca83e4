"""MaxPool, AveragePool and the global ones of images; means over an image are means of rows."""

import math

from tuner.model.glue.program import Call, Program, floats, integers, of_node
from tuner.model.graph import Graph, Node

OPERATORS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"})
# Floats of a line in `cuda_src/model/pooling.h`, and of a block of it.
_MOST_WIDTH, _BLOCK = 4096, 16
_LARGEST = {"float32": "max_pool", "int8": "max_pool_s8", "uint8": "max_pool_u8"}


def program(graph: Graph, node: Node) -> Program | None:
    """The program of a node, or `None` where it is none.

    Raises:
        TypeError, ValueError, LookupError: its attributes are not those of its operator.
    """
    outputs = [name for name in node.outputs if name]
    if node.domain or len(outputs) != 1 or not _alike(graph, node, node.input(0), outputs[0]):
        return None
    shape, result = graph.shape(node.input(0)) or (), graph.shape(outputs[0]) or ()
    names = (node.input(0), outputs[0])
    if node.op == "GlobalAveragePool":
        return of_node(graph, node, [row_means(names, math.prod(shape[:2]), math.prod(shape[2:]))])
    if node.op == "ReduceMean":
        width = _reduced(graph, node, len(shape))
        rows = math.prod(shape[: len(shape) - width])
        return of_node(graph, node, [row_means(names, rows, math.prod(shape[-width:]))]) if width else None
    numbers = windows(node, shape, result)
    if numbers is None:
        return None
    if node.op == "MaxPool":
        return of_node(graph, node, [Call(_LARGEST[graph.value(names[0]).dtype], "", numbers, names)])
    _, height, width, *sizes = numbers
    if sizes[:4] == [1, 1, height, width] and sizes[6:8] == [0, 0]:
        return of_node(graph, node, [row_means(names, math.prod(shape[:2]), math.prod(shape[2:]))])
    return of_node(graph, node, [Call("average_pool", "", numbers, names)])


def _alike(graph: Graph, node: Node, *names: str) -> bool:
    """Whether its values are floats, or what the largest is taken of is of 8 bits."""
    dtypes = {graph.value(name).dtype for name in names}
    small = node.op == "MaxPool" and len(dtypes) == 1 and dtypes <= _LARGEST.keys()
    return floats(graph, *names) or (small and all(graph.value(name).elements for name in names))


def row_means(names: tuple[str, str], rows: int, width: int) -> Call:
    """Of rows that lie one behind the other."""
    return Call("row_means", "", (rows, width), names)


def _reduced(graph: Graph, node: Node, rank: int) -> int:
    """How many axes, the last ones, a reduction is over; 0 where it is over others."""
    given = graph.small.get(node.input(1)) if node.input(1) else node.attributes.get("axes")
    if given is None:
        return 0
    axes = sorted(int(axis) % rank for axis in given)
    return len(axes) if axes == list(range(rank - len(axes), rank)) else 0


def _padding(
    node: Node, shape: tuple[int, ...], result: tuple[int, ...], window: tuple[int, ...],
    steps: tuple[int, ...],
) -> tuple[int, ...]:  # fmt: skip
    """At the beginning and the end of each axis; with SAME_UPPER an odd one more is at the end."""
    automatic = node.attributes.get("auto_pad", "NOTSET")
    automatic = automatic.decode() if isinstance(automatic, bytes) else automatic
    if not str(automatic).startswith("SAME"):
        return integers(node.attributes.get("pads"), 2 * len(shape), 0)
    sizes = zip(shape, result, window, steps, strict=True)
    missing = [max((out - 1) * step + taps - size, 0) for size, out, taps, step in sizes]
    begin = [(n + (automatic == "SAME_LOWER")) // 2 for n in missing]
    return (*begin, *(n - b for n, b in zip(missing, begin, strict=True)))


def windows(node: Node, shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...] | None:
    """What `pooling.h` wants to know of a MaxPool or AveragePool; `None` where it has no such windows.

    Args:
        node: the pool.
        shape, result: of its input and output.

    Raises:
        TypeError, ValueError, LookupError: its attributes are not those of its operator.
    """
    axes = len(shape) - 2
    if axes not in (1, 2):
        return None
    window = integers(node.attributes["kernel_shape"], axes, 1)
    steps = integers(node.attributes.get("strides"), axes, 1)
    dilations = integers(node.attributes.get("dilations"), axes, 1)
    pads = _padding(node, shape[2:], result[2:], window, steps)
    counted = bool(node.attributes.get("count_include_pad", 0))
    if set(dilations) != {1} or (counted and node.attributes.get("ceil_mode", 0)):
        return None
    for axis in range(axes):
        # Each window has an element of the image, the first and the last too.
        last = (result[2 + axis] - 1) * steps[axis] - pads[axis]
        if pads[axis] >= window[axis] or last >= shape[2 + axis] or min(pads) < 0:
            return None
    (height, width), (high, wide), (window_h, window_w), (step_h, step_w) = (
        (1, *each)[-2:] for each in (shape[2:], result[2:], window, steps)
    )
    top, left = (0, *pads[:axes])[-2:]
    if max((wide + 2 * _BLOCK) * step_w + window_w, left + width + _BLOCK) > _MOST_WIDTH:
        return None
    return (
        math.prod(shape[:2]), height, width, high, wide, window_h, window_w, step_h, step_w, top, left,
        int(counted),
    )  # fmt: skip
