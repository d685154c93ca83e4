"""Models to work on: graphs like YOLOv5s and BERT-base with random weights, and the light ones of `onnx`.

    python -m tuner.lab.graphs yolov5s yolov5s.onnx
    python -m tuner.lab.graphs bert-base bert.onnx --tokens 128
    python -m tuner.lab.graphs resnet50 resnet50.onnx

Weights decide what a model computes, not what it costs. The light models' weights are all alike,
so that every output is: here they get random ones and end before the softmax, and a wrong kernel shows.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.errors import TunerError
from tuner.model.guards import onnx_library

OPSET = 17


class Build:
    """A graph that grows node by node; methods return the name of what they make.

    Args:
        seed: of the weights.
    """

    def __init__(self, seed: int = 0) -> None:
        self.onnx = onnx_library()
        self._rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any) -> str:
        """A stored constant."""
        name = f"c_{len(self.weights)}"
        self.weights.append(self.onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int, fan_in: int | None = None) -> str:
        """Random weights whose products keep the size of what they are multiplied with (He et al. 2015)."""
        scale = math.sqrt(2 / (fan_in or math.prod(shape[1:]) or 1))
        return self.constant((self._rng.standard_normal(shape) * scale).astype(np.float32))

    def conv(self, x: str, c: int, k: int, taps: int, stride: int = 1, silu: bool = True) -> str:
        """A convolution that keeps the size (or halves it), and x * sigmoid(x)."""
        pad = [taps // 2] * 4 if taps != 6 else [2] * 4
        w, bias = self.random(k, c, taps, taps), self.constant(np.zeros(k, np.float32))
        y = self.node("Conv", x, w, bias, strides=[stride] * 2, pads=pad, kernel_shape=[taps] * 2)
        return self.node("Mul", y, self.node("Sigmoid", y)) if silu else y

    def linear(self, x: str, k: int, n: int) -> str:
        """x W + b."""
        product = self.node("MatMul", x, self.random(k, n, fan_in=2 * k))
        return self.node("Add", product, self.constant(np.zeros(n, np.float32)))

    def norm(self, x: str, size: int) -> str:
        """Layer normalisation over the last axis."""
        one, zero = self.constant(np.ones(size, np.float32)), self.constant(np.zeros(size, np.float32))
        return self.node("LayerNormalization", x, one, zero, axis=-1, epsilon=1e-12)

    def model(self, inputs: Sequence[tuple[str, int, list[Any]]], outputs: Sequence[str]) -> Any:
        """The `ModelProto`: inputs are (name, ONNX's element type, sizes or symbols)."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, "graph", [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, None) for name in outputs],
            self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def yolov5s(size: int = 640) -> Any:
    """A detector of the layers of YOLOv5s (release 6: depth 0.33, width 0.5), to its three raw outputs.

    Args:
        size: pixels of a side of the image, a multiple of 32.
    """
    if size % 32:
        raise TunerError(f"an image of {size} pixels: give a multiple of 32")
    b = Build()

    def c3(x: str, c: int, k: int, depth: int, shortcut: bool = True) -> str:
        half = k // 2
        y, z = b.conv(x, c, half, 1), b.conv(x, c, half, 1)
        for _ in range(depth):
            inner = b.conv(b.conv(y, half, half, 1), half, half, 3)
            y = b.node("Add", y, inner) if shortcut else inner
        return b.conv(b.node("Concat", y, z, axis=1), k, k, 1)

    def up(x: str) -> str:
        scales = b.constant(np.array([1, 1, 2, 2], np.float32))
        return b.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                      nearest_mode="floor")  # fmt: skip

    x = b.conv(b.conv("images", 3, 32, 6, 2), 32, 64, 3, 2)
    x = b.conv(c3(x, 64, 64, 1), 64, 128, 3, 2)
    p3 = c3(x, 128, 128, 2)
    p4 = c3(b.conv(p3, 128, 256, 3, 2), 256, 256, 3)
    x = c3(b.conv(p4, 256, 512, 3, 2), 512, 512, 1)
    # Pooling of three sizes, one behind the other.
    pooled = [b.conv(x, 512, 256, 1)]
    for _ in range(3):
        pooled.append(b.node("MaxPool", pooled[-1], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    top = b.conv(b.conv(b.node("Concat", *pooled, axis=1), 1024, 512, 1), 512, 256, 1)
    middle = b.conv(c3(b.node("Concat", up(top), p4, axis=1), 512, 256, 1, False), 256, 128, 1)
    out3 = c3(b.node("Concat", up(middle), p3, axis=1), 256, 128, 1, False)
    out4 = c3(b.node("Concat", b.conv(out3, 128, 128, 3, 2), middle, axis=1), 256, 256, 1, False)
    out5 = c3(b.node("Concat", b.conv(out4, 256, 256, 3, 2), top, axis=1), 512, 512, 1, False)
    heads = [b.conv(y, c, 255, 1, silu=False) for y, c in ((out3, 128), (out4, 256), (out5, 512))]
    return b.model([("images", b.onnx.TensorProto.FLOAT, ["batch", 3, size, size])], heads)


def bert_base(tokens: int = 128, layers: int = 12, hidden: int = 768, words: int = 30522) -> Any:
    """An encoder of BERT-base's sizes (Devlin et al. 2019), as frameworks export it, without a mask.

    Args:
        tokens: of a sentence.
        layers, hidden: 12 and 768 in BERT-base; 64 elements a head.
        words: of the vocabulary.
    """
    b, heads = Build(), hidden // 64
    split, joined = b.constant(np.array([0, 0, heads, 64])), b.constant(np.array([0, 0, hidden]))
    found = b.node("Gather", b.random(words, hidden, fan_in=2), "input_ids")
    x = b.norm(b.node("Add", found, b.random(1, tokens, hidden, fan_in=2)), hidden)
    half, one = b.constant(np.float32(0.5)), b.constant(np.float32(1))
    root, eight = b.constant(np.float32(math.sqrt(2))), b.constant(np.float32(8))
    for _ in range(layers):
        q, k, v = (
            b.node("Transpose", b.node("Reshape", b.linear(x, hidden, hidden), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        p = b.node("Softmax", b.node("Div", b.node("MatMul", q, k), eight), axis=-1)
        o = b.node("Reshape", b.node("Transpose", b.node("MatMul", p, v), perm=[0, 2, 1, 3]), joined)
        x = b.norm(b.node("Add", b.linear(o, hidden, hidden), x), hidden)
        y = b.linear(x, hidden, 4 * hidden)
        # GELU by erf (Hendrycks and Gimpel 2016).
        gate = b.node("Add", b.node("Erf", b.node("Div", y, root)), one)
        y = b.node("Mul", b.node("Mul", y, gate), half)
        x = b.norm(b.node("Add", b.linear(y, 4 * hidden, hidden), x), hidden)
    return b.model([("input_ids", b.onnx.TensorProto.INT64, ["batch", tokens])], [x])


def light_models() -> dict[str, Path]:
    """The models that the `onnx` package carries as test data, by name; none where it carries none."""
    folder = Path(onnx_library().__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("*.onnx"))}


def randomized(path: Path, seed: int = 0) -> Any:
    """A light model with random weights in place of those that its ConstantOfShape nodes make.

    Means and shifts are small, scales and variances near 1, so that numbers do not vanish on their way. A
    softmax at the end, which would make them 0 and 1, is left out: the outputs are what it would be given.
    """
    onnx = onnx_library()
    model, rng = onnx.load(str(path)), np.random.default_rng(seed)
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    roles: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            roles |= dict(zip(node.input[1:5], ("scale", "shift", "shift", "scale"), strict=True))
    kept, made = [], []
    for node in model.graph.node:
        size = shapes.get(node.input[0]) if node.op_type == "ConstantOfShape" else None
        if size is None:
            kept.append(node)
            continue
        shape, name = tuple(int(s) for s in size), node.output[0]
        values = rng.standard_normal(shape)
        if len(shape) > 1:
            values *= math.sqrt(2 / math.prod(shape[1:]))
        elif roles.get(name) == "scale":
            values = 1 + 0.1 * np.abs(values)
        else:
            values *= 0.05
        made.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    if kept[-1].op_type == "Softmax" and kept[-1].output[0] == model.graph.output[0].name:
        model.graph.output[0].name = kept.pop().input[0]
        model.graph.output[0].type.tensor_type.ClearField("shape")
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(made)
    model.ir_version = max(model.ir_version, 4)
    return model


def make(name: str, tokens: int = 128, size: int = 640) -> Any:
    """A model by name.

    Raises:
        TunerError: there is none of this name.
    """
    own: dict[str, Callable[[], Any]] = {
        "yolov5s": lambda: yolov5s(size),
        "bert-base": lambda: bert_base(tokens),
    }
    light = light_models()
    if name in own:
        return own[name]()
    if name in light:
        return randomized(light[name])
    raise TunerError(f"no model {name!r}: known are {', '.join((*own, *light))}")


def main() -> None:
    """Writes one model."""
    parser = argparse.ArgumentParser(prog="python -m tuner.lab.graphs", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="yolov5s, bert-base, or a light model of the onnx package")
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--size", type=int, default=640)
    given = parser.parse_args()
    try:
        given.output.write_bytes(make(given.model, given.tokens, given.size).SerializeToString())
    except TunerError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{given.output} cannot be written: {error.strerror}")
    print(given.output)


if __name__ == "__main__":
    main()
