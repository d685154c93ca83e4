"""The layers of well-known models as workloads: each distinct one once, with how often a pass computes it.

Batch 1. Convolutions are listed as they are computed in inference apart from bias and activation (a batch
normalisation is folded into the weights); pooling, additions and normalisations are left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tuner.core.errors import UnknownName


@dataclass(frozen=True, slots=True)
class ListedLayer:
    """A workload of a model.

    Attributes:
        operator: its name.
        shape: what `Operator.parse` reads.
        count: how often one forward pass computes it.
    """

    operator: str
    shape: str
    count: int


@dataclass(frozen=True, slots=True)
class WorkloadSet:
    """A model's layers in the order of their first use.

    Attributes:
        name: what the command line takes.
        summary: the model and its input.
        source: where the layers are described.
        layers: distinct ones.
    """

    name: str
    summary: str
    source: str
    layers: tuple[ListedLayer, ...]

    def of(self, operator: str) -> tuple[ListedLayer, ...]:
        """The layers of one operator."""
        return tuple(layer for layer in self.layers if layer.operator == operator)


class _Network:
    """Follows an image through a network and writes down its convolutions."""

    def __init__(self, channels: int, size: int) -> None:
        self.channels, self.size = channels, size
        self.found: list[str] = []

    def conv(self, out: int, taps: int, stride: int = 1, pad: int | None = None, groups: int = 1) -> None:
        """A convolution of the present image, which becomes its result; `pad` keeps the size by default."""
        pad = taps // 2 if pad is None else pad
        size, c = self.size, self.channels
        words = [f"n1 c{c} h{size} w{size} k{out} r{taps} s{taps} stride{stride} pad{pad}"]
        words += [f"groups{groups}"] if groups > 1 else []
        self.found.append(" ".join(words))
        self.channels, self.size = out, (size + 2 * pad - taps) // stride + 1

    def beside(self, channels: int, size: int) -> None:
        """Goes on with another image: a branch."""
        self.channels, self.size = channels, size


def _resnet50() -> Iterator[str]:
    net = _Network(3, 224)
    net.conv(64, 7, 2)
    net.beside(64, 56)  # after the max pooling
    for blocks, width, first_stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            before = net.channels, net.size
            net.conv(width, 1)
            net.conv(width, 3, stride)
            net.conv(4 * width, 1)
            if block == 0:
                after = net.channels, net.size
                net.beside(*before)
                net.conv(4 * width, 1, stride)
                net.beside(*after)
    yield from net.found


def _mobilenetv2() -> Iterator[str]:
    net = _Network(3, 224)
    net.conv(32, 3, 2)
    for expansion, out, blocks, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            hidden = net.channels * expansion
            if expansion > 1:
                net.conv(hidden, 1)
            net.conv(hidden, 3, first_stride if block == 0 else 1, groups=hidden)
            net.conv(out, 1)
    net.conv(1280, 1)
    yield from net.found


def _yolov5s() -> Iterator[str]:
    net = _Network(3, 640)

    def c3(channels: int, out: int, depth: int) -> None:
        size, half = net.size, out // 2
        net.beside(channels, size)
        net.conv(half, 1)
        for _ in range(depth):
            net.conv(half, 1)
            net.conv(half, 3)
        net.beside(channels, size)
        net.conv(half, 1)  # the branch around the bottlenecks
        net.beside(2 * half, size)
        net.conv(out, 1)

    net.conv(32, 6, 2, 2)
    for out, depth in ((64, 1), (128, 2), (256, 3), (512, 1)):
        net.conv(out, 3, 2)
        c3(out, out, depth)
    net.conv(256, 1)  # SPPF: three poolings between its two convolutions
    net.beside(1024, 20)
    net.conv(512, 1)
    # The head: up twice, then down twice, each time beside a map of the backbone or of the way up.
    net.conv(256, 1)
    net.beside(512, 40)
    c3(512, 256, 1)
    net.conv(128, 1)
    net.beside(256, 80)
    c3(256, 128, 1)
    net.conv(128, 3, 2)
    c3(256, 256, 1)
    net.conv(256, 3, 2)
    c3(512, 512, 1)
    for channels, size in ((128, 80), (256, 40), (512, 20)):
        net.beside(channels, size)
        net.conv(255, 1)  # 3 anchors of 80 classes, a box and a confidence
    yield from net.found


def _convolutions(shapes: Iterator[str]) -> Iterator[tuple[str, str]]:
    return (("conv2d", shape) for shape in shapes)


def _bert_base() -> Iterator[tuple[str, str]]:
    for _ in range(12):
        yield from [("gemm", "m384 n768 k768")] * 4  # queries, keys, values, output
        yield "attention", "b1 h12 q384 kv384 d64"
        yield "gemm", "m384 n3072 k768"
        yield "gemm", "m384 n768 k3072"


def _llama_7b() -> Iterator[tuple[str, str]]:
    for tokens, keys, mask in ((512, 512, " causal"), (1, 513, "")):
        for _ in range(32):
            yield from [("gemm", f"m{tokens} n4096 k4096")] * 4
            yield "attention", f"b1 h32 q{tokens} kv{keys} d128{mask}"
            yield from [("gemm", f"m{tokens} n11008 k4096")] * 2  # gate and up
            yield "gemm", f"m{tokens} n4096 k11008"
    yield from [("gemm", "m1 n32000 k4096")] * 2  # the last token's logits, of the prompt and of the step


_SETS: Mapping[str, tuple[str, str, Callable[[], Iterator[tuple[str, str]]]]] = {
    "resnet50": (
        "ResNet-50 v1.5 (stride in the 3x3 convolutions), 224 x 224",
        "He et al., Deep residual learning for image recognition, CVPR 2016, table 1; torchvision resnet50",
        lambda: _convolutions(_resnet50()),
    ),
    "mobilenetv2": (
        "MobileNetV2 1.0, 224 x 224",
        "Sandler et al., MobileNetV2, CVPR 2018, table 2; torchvision mobilenet_v2",
        lambda: _convolutions(_mobilenetv2()),
    ),
    "yolov5s": (
        "YOLOv5s, 640 x 640",
        "Ultralytics YOLOv5 v6.0 and later, models/yolov5s.yaml",
        lambda: _convolutions(_yolov5s()),
    ),
    "bert-base": (
        "BERT base, 384 tokens",
        "Devlin et al., BERT, NAACL 2019, section 3 (L=12, H=768, A=12); 384 tokens as in SQuAD",
        _bert_base,
    ),
    "llama-7b": (
        "LLaMA 7B, a prompt of 512 tokens and one step of generation behind it",
        "Touvron et al., LLaMA, 2023, table 2; 32 layers, width 4096, 11008 in the feed-forward part",
        _llama_7b,
    ),
}  # fmt: skip


def set_names() -> list[str]:
    """The names of all sets."""
    return list(_SETS)


def workload_set(name: str) -> WorkloadSet:
    """A set by name.

    Raises:
        UnknownName: there is none of this name; lists those there are.
    """
    if name not in _SETS:
        raise UnknownName("workload set", name, list(_SETS))
    summary, source, layers = _SETS[name]
    counts = Counter(layers())  # keeps the order of first use
    return WorkloadSet(name, summary, source, tuple(ListedLayer(*layer, n) for layer, n in counts.items()))
