"""Conv nodes as workloads of conv2d, with what follows them as epilogue."""

import math
from collections.abc import Container
from typing import Any

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import FROZEN
from tuner.model.epilogues import channel_epilogue
from tuner.model.graph import Graph, Node
from tuner.model.layer import Binding, Layer, NotTuned, dtype_of


def recognize(graph: Graph, node: Node, claimed: Container[int] = ()) -> Layer:
    """The layer that a Conv begins. One of rows of pixels (1-D) is one of images of one row.

    Raises:
        NotTuned: it is none that conv2d has.
    """
    dims, values = geometry(node, graph.shape(node.input(0)), graph.shape(node.input(1)))
    dtype = dtype_of(graph.value(node.input(0)).dtype)
    fold = node.input(1) in graph.constants and (not node.input(2) or node.input(2) in graph.constants)
    after = channel_epilogue(graph, node.outputs[0], dims["k"], fold and dtype == "f32", claimed)
    bias = bool(node.input(2) or after.folded)
    try:
        # With constant weights kernels may lay them out before the model runs.
        options = {"bias": bias, "residual": bool(after.addend), FROZEN: fold}
        options |= {after.activation: True} if after.activation else {}
        workload = registry.operator("conv2d").workload(dtype, **dims, **values, **options)
    except InvalidWorkload as error:
        raise NotTuned(str(error)) from None
    inputs = [Binding("X", node.input(0)), Binding("W", node.input(1))]
    if bias:
        # Without one of its own it is what is folded into zeros.
        inputs.append(Binding("bias", node.input(2)))
    if after.addend:
        inputs.append(Binding("residual", after.addend))
    return Layer(workload, (node.index, *after.nodes), inputs, after.output, folded=tuple(after.folded))


def geometry(
    node: Node, x: tuple[int, ...] | None, w: tuple[int, ...] | None
) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and options of conv2d, of the shapes of image and weights.

    Raises:
        NotTuned: it has none for them.
    """
    if x is None or w is None:
        raise NotTuned("its shapes are not known before it runs")
    if len(w) != len(x):
        raise NotTuned("its weights have other axes than its input")
    if len(x) not in (3, 4):
        raise NotTuned(f"a convolution over {len(x) - 2} axes: conv2d has two")
    image, taps = x[2:], w[2:]
    values = _options(node, image, taps)
    if len(x) == 3:
        image, taps = (1, *image), (1, *taps)
    dims = {"n": x[0], "c": x[1], "h": image[0], "w": image[1], "k": w[0], "r": taps[0], "s": taps[1]}
    return dims, values


def _options(node: Node, image: tuple[int, ...], taps: tuple[int, ...]) -> dict[str, Any]:
    """Stride, padding, dilation and groups as options of conv2d."""
    axes, given = len(image), node.attributes
    strides = list(given.get("strides") or [1] * axes)
    dilations = list(given.get("dilations") or [1] * axes)
    pads = list(given.get("pads") or [0] * 2 * axes)
    if len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes:
        raise NotTuned("its attributes are not of its shape")
    if min(*strides, *dilations) < 1:
        raise NotTuned("strides and dilations are 1 and more")
    for name, both in (("strides", strides), ("dilations", dilations)):
        if len(set(both)) > 1:
            raise NotTuned(f"{name} differ along the axes: conv2d has one for both")
    kind = given.get("auto_pad") or "NOTSET"
    if kind == "VALID":
        pads = [0] * 2 * axes
    elif kind != "NOTSET":
        totals = [
            max(0, (math.ceil(size / step) - 1) * step + gap * (tap - 1) + 1 - size)
            for size, step, gap, tap in zip(image, strides, dilations, taps, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = small + large if kind == "SAME_UPPER" else large + small
    if min(pads) < 0:
        raise NotTuned("negative padding")
    if axes == 1:
        pads = [0, pads[0], 0, pads[1]]
    sides = dict(zip(("pad_top", "pad_left", "pad_bottom", "pad_right"), pads, strict=True))
    return {"stride": strides[0], "dilation": dilations[0], "groups": given.get("group", 1), **sides}
