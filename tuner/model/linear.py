"""Quantized tensors of a graph: which 8 bits, which scale, which zero point, and what the lab cannot take."""

import numpy as np

from tuner.model.graph import Graph, Node
from tuner.model.layer import NotTuned
from tuner.model.quantization import BYTES, SHIFT, Linear


def dequantizer(graph: Graph, name: str) -> Node | None:
    """The DequantizeLinear that makes a value; `None` where another node does."""
    node = graph.producers.get(name)
    return node if node is not None and node.op == "DequantizeLinear" else None


def scale_of(graph: Graph, name: str, what: str) -> np.ndarray:
    """A constant scale, flat.

    Raises:
        NotTuned: it is not constant, not of f32, or no scale.
    """
    found = _constant(graph, name, f"{what} has a scale")
    if str(found.dtype) != "float32":
        raise NotTuned(f"{what} has a scale of {found.dtype}: int8 kernels scale in f32")
    flat = found.reshape(-1)
    if not flat.size or not np.all(np.isfinite(flat)) or not np.all(flat > 0):
        raise NotTuned(f"{what} has a scale that is no finite number above 0")
    return flat


def zeros_of(graph: Graph, name: str, dtype: str, what: str) -> np.ndarray:
    """A constant zero point, flat, as of int8. Left out, it is 0 of the graph's type.

    Raises:
        NotTuned: it is not constant, or of another type than the values.
    """
    if name:
        found = _constant(graph, name, f"{what} has a zero point").reshape(-1)
        if str(found.dtype) != dtype or not found.size:
            raise NotTuned(f"{what} is {dtype}, its zero point {found.dtype}")
    else:
        found = np.zeros(1, dtype)
    return found.astype(np.int64) - (SHIFT if dtype == "uint8" else 0)


def activation(graph: Graph, value: str, scale: str, zero: str, what: str = "its input") -> Linear:
    """What flows through the graph: one scale and one zero point for all of it.

    Raises:
        NotTuned: it has more, or others than the kernels take.
    """
    dtype = byte_dtype(graph, value, what)
    found = scale_of(graph, scale, what)
    zeros = zeros_of(graph, zero, dtype, what)
    if found.size > 1 or zeros.size > 1:
        raise NotTuned(f"{what} has scales for each channel, which int8 kernels have of weights only")
    return Linear(value, found, int(zeros[0]), dtype == "uint8")


def weights(
    graph: Graph, value: str, scale: str, zero: str, channels: int, what: str = "its weights"
) -> Linear:
    """Weights: one scale, or one for each of the output's channels, and 0 as their zero point.

    Raises:
        NotTuned: as `activation`, or zero points that are not 0 (of uint8: 128).
    """
    dtype = byte_dtype(graph, value, what)
    found = scale_of(graph, scale, what)
    if found.size not in (1, channels):
        raise NotTuned(f"{what} have {found.size} scales for {channels} channels")
    check_symmetric(graph, zero, dtype, what)
    return Linear(value, found, 0, dtype == "uint8")


def check_symmetric(graph: Graph, zero: str, dtype: str, what: str) -> None:
    """Holds zero points to be 0 as int8.

    Raises:
        NotTuned: one is not: each sum would need a sum over the other factor's values too.
    """
    zeros = zeros_of(graph, zero, dtype, what)
    if np.any(zeros):
        centre = SHIFT if dtype == "uint8" else 0
        raise NotTuned(f"{what}: a zero point other than {centre} of {dtype} is none of the int8 kernels'")


def byte_dtype(graph: Graph, value: str, what: str) -> str:
    """`int8` or `uint8`.

    Raises:
        NotTuned: it is neither.
    """
    dtype = graph.value(value).dtype
    if dtype not in BYTES:
        raise NotTuned(f"{what}: {dtype or 'of unknown type'}, int8 kernels take int8 and uint8")
    return dtype


def dequantized(graph: Graph, node: Node, rank: int, axis: int | None) -> tuple[str, str, str]:
    """(value, scale, zero point) of a DequantizeLinear or QuantizeLinear.

    Args:
        graph: of the model.
        node: reads it, or makes it.
        rank: of the values.
        axis: along which there may be scales; `None`: nowhere.

    Raises:
        NotTuned: there are some along another axis, or for blocks.
    """
    if node.attributes.get("block_size", 0):
        raise NotTuned("quantized in blocks: int8 kernels have one scale a tensor or a channel")
    scale = graph.small.get(node.input(1))
    along = int(node.attributes.get("axis", 1))
    if scale is not None and scale.size > 1 and axis is not None and along % max(rank, 1) != axis % rank:
        raise NotTuned(f"scales along axis {along} of its weights, int8 kernels have them along the output's")
    value = node.outputs[0] if node.op == "QuantizeLinear" else node.input(0)
    return value, node.input(1), node.input(2)


def _constant(graph: Graph, name: str, what: str) -> np.ndarray:
    found = graph.small.get(name)
    if found is None:
        why = "too large to be looked at" if name in graph.constants else "not constant"
        raise NotTuned(f"{what} that is {why}")
    return found
