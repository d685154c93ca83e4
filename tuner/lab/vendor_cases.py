"""What `make bench-vendor` measures: shapes, element types and threads, the most telling first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.kernel import FROZEN
from tuner.lab.comparison_data import Case

GEMMS = (
    "1024x1024x1024", "2048x2048x2048", "256x256x256", "512x768x3072", "1x4096x4096", "512x512x512",
    "128x3072x768", "8x4096x4096", "4096x64x512", "1000x1000x1000", "64x64x64", "127x129x131",
    "m512 n64 k512 batch12", "128x128x128",
)  # fmt: skip
"""Squares from 64 to 2048, ragged ones, BERT's, one token's and eight tokens', a batch of heads."""

CONVOLUTIONS = (
    # ResNet-50: the stem, 1x1 and 3x3 at every size, both strides.
    "n1 c3 h224 w224 k64 r7 s7 stride2 pad3",
    "n1 c64 h56 w56 k64 r1 s1",
    "n1 c64 h56 w56 k64 r3 s3 pad1",
    "n1 c256 h14 w14 k1024 r1 s1",
    "n1 c128 h56 w56 k128 r3 s3 stride2 pad1",
    "n1 c512 h7 w7 k512 r3 s3 pad1",
    "n1 c256 h56 w56 k128 r1 s1",
    "n1 c128 h28 w28 k128 r3 s3 pad1",
    "n1 c512 h28 w28 k1024 r1 s1 stride2",
    "n1 c2048 h7 w7 k512 r1 s1",
    # MobileNetV2: its stem, depthwise of both strides, and 1x1 of few channels.
    "n1 c384 h14 w14 k384 r3 s3 pad1 groups384",
    "n1 c96 h112 w112 k96 r3 s3 stride2 pad1 groups96",
    "n1 c3 h224 w224 k32 r3 s3 stride2 pad1",
    "n1 c32 h112 w112 k16 r1 s1",
    "n1 c384 h14 w14 k64 r1 s1",
    "n1 c320 h7 w7 k1280 r1 s1",
    # YOLOv5s at 640 x 640: its stem, a stride of 2, a bottleneck and a head.
    "n1 c3 h640 w640 k32 r6 s6 stride2 pad2",
    "n1 c64 h160 w160 k128 r3 s3 stride2 pad1",
    "n1 c64 h80 w80 k64 r3 s3 pad1",
    "n1 c512 h20 w20 k255 r1 s1",
)  # fmt: skip
"""Twenty layers of three networks, batch 1."""

ATTENTIONS = (
    "1x12x384x384x64",
    "b1 h32 q512 kv512 d128 causal",
    "b1 h32 q1 kv513 d128",
    "1x12x128x128x64",
    "1x8x2048x2048x64",
    "b1 h32 q1 kv4096 d128 kv_heads8",
)
"""BERT, a prompt and a step of LLaMA, a short and a long sequence, a step over 4096 keys with 8 KV heads."""


@dataclass(frozen=True)
class Suite:
    """An operator's part.

    Attributes:
        operator: its name.
        shapes: in the order in which they are measured.
        narrow: element types beside f32.
        frozen: those with weights, which are compared once more with the weights laid out ahead by everyone.
    """

    operator: str
    shapes: tuple[str, ...]
    narrow: tuple[str, ...]
    frozen: tuple[str, ...] = ()

    def asked(self, frozen: bool) -> tuple[str, ...]:
        """The shapes as workloads with weights that may change in every call, or that stay the same."""
        return tuple(f"{_named(shape)} {FROZEN}" for shape in self.frozen) if frozen else self.shapes


def _named(shape: str) -> str:
    """A product's MxNxK in words, which options may follow."""
    sizes = shape.split("x")
    return " ".join(map("".join, zip("mnk", sizes, strict=True))) if len(sizes) == 3 else shape


_OF_WEIGHTS = tuple(shape for shape in GEMMS if "batch" not in shape)
# One filter a channel is next to no memory: nothing is gained by a layout of its own.
_OF_FILTERS = tuple(shape for shape in CONVOLUTIONS if "groups" not in shape)
# Steps of decoding read the cache once each: there its layout counts.
_OF_STEPS = tuple(shape for shape in ATTENTIONS if " q1 " in shape)
SUITES = (
    Suite("gemm", GEMMS, ("int8", "bf16", "f16"), _OF_WEIGHTS),
    Suite("conv2d", CONVOLUTIONS, ("int8", "bf16", "f16"), _OF_FILTERS),
    Suite("attention", ATTENTIONS, ("bf16", "f16"), _OF_STEPS),
)
OPERATORS = tuple(suite.operator for suite in SUITES)
DTYPES = ("f32", *dict.fromkeys(dtype for suite in SUITES for dtype in suite.narrow))
# Shapes of each operator in a quick run.
_FEW = 4


@dataclass(frozen=True)
class CpuCase(Case):
    """One comparison on so many threads."""

    threads: int

    @property
    def frozen(self) -> bool:
        """Whether weights are the same in every call: frozen kernels beside the libraries' frozen modes."""
        return is_frozen(self.shape)

    @property
    def key(self) -> str:
        """Its name in the files of results."""
        return f"{super().key}, {self.threads} threads"


def is_frozen(shape: str) -> bool:
    """Whether a case's shape is of a frozen workload."""
    return FROZEN in shape.split()


def place(row: Mapping[str, Any]) -> tuple[int, ...]:
    """Where a row of results stands among others: tables in the order of `cases`, shapes as in their suite.

    What is asked for no longer comes last.
    """
    suite = next((each for each in SUITES if each.operator == row["operator"]), None)
    frozen, dtypes = is_frozen(row["shape"]), suite.narrow if suite else ()
    shapes = suite.asked(frozen) if suite else ()
    return (
        row["dtype"] != "f32", -int(row["threads"]), frozen,
        *(_index(*each) for each in ((OPERATORS, row["operator"]), (dtypes, row["dtype"]))),
        _index(shapes, row["shape"]),
    )  # fmt: skip


def _index(among: Sequence[str], name: str) -> int:
    return among.index(name) if name in among else len(among)


def cases(
    threads: Sequence[int], only: Sequence[str] = (), dtypes: Sequence[str] = (), quick: bool = False,
    frozen: bool | None = None,
) -> list[CpuCase]:  # fmt: skip
    """Everything to be measured, in the order in which it is.

    f32 on the most threads comes first, operators in turn, then the same with frozen weights; then f32 on
    fewer threads; then the narrow types in the same order. Who stops early has measured the same shapes of
    every operator.

    Args:
        threads: numbers of threads, the most first.
        only: operators; none means all.
        dtypes: element types; none means all.
        quick: the first few shapes of each operator only.
        frozen: those with frozen weights alone, or the others alone; `None` means both.
    """
    chosen = [suite for suite in SUITES if suite.operator in (only or OPERATORS)]
    return [
        case
        for narrow in (False, True)
        for count in threads
        for ahead in (False, True)
        for case in _in_turn(chosen, count, narrow, ahead, quick)
        if case.dtype in (dtypes or (case.dtype,)) and frozen in (None, ahead)
    ]


def _in_turn(
    suites: Sequence[Suite], threads: int, narrow: bool, frozen: bool, quick: bool
) -> Iterator[CpuCase]:
    """One shape of each operator after the other."""
    asked = {suite: suite.asked(frozen) for suite in suites}
    for place in range(_FEW if quick else max(map(len, asked.values()))):
        for suite, shapes in asked.items():
            for shape in shapes[place : place + 1]:
                for dtype in suite.narrow if narrow else ("f32",):
                    yield CpuCase(suite.operator, shape, dtype, threads)
