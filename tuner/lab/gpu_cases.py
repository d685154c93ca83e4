"""What `make bench-gpu` measures: shapes and element types, the most telling first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.lab.comparison_data import Case

PRODUCTS = (
    "4096x4096x4096", "16x4096x4096", "8192x8192x8192", "1024x1024x1024", "128x4096x14336", "2048x2048x2048",
    "8192x8192x1024", "64x8192x8192", "512x512x8192", "m512 n64 k512 batch12",
)  # fmt: skip
"""Squares, a step of decoding for 16, 64 and 128 sequences, little k, little m and n, a batch of heads."""

_TURNED = tuple(
    f"m{m} n{n} k{k} trans_b"
    for m, n, k in (shape.split("x") for shape in PRODUCTS if "batch" not in shape)
)  # fmt: skip
"""The same with B as n rows of k: the one order that cuBLASLt multiplies e4m3 in, and tensor cores 8 bits."""

_LAYERS = (
    # ResNet-50: 3x3 at every size, 1x1 up and down, strides of 2, the stem.
    "c128 h28 w28 k128 r3 s3 pad1",
    "c256 h56 w56 k64 r1 s1",
    # MobileNetV2: depthwise of both strides, its stem, 1x1 of few channels.
    "c384 h14 w14 k384 r3 s3 pad1 groups384",
    "c256 h14 w14 k256 r3 s3 pad1",
    "c64 h56 w56 k64 r3 s3 pad1",
    "c1024 h14 w14 k256 r1 s1",
    "c3 h224 w224 k64 r7 s7 stride2 pad3",
    "c512 h7 w7 k512 r3 s3 pad1",
    "c64 h56 w56 k256 r1 s1",
    "c96 h112 w112 k96 r3 s3 stride2 pad1 groups96",
    "c128 h56 w56 k128 r3 s3 stride2 pad1",
    "c512 h28 w28 k1024 r1 s1 stride2",
    "c3 h224 w224 k32 r3 s3 stride2 pad1",
    "c384 h14 w14 k64 r1 s1",
)
"""Fourteen layers of two networks."""

PROMPTS = (
    "b4 h16 q2048 kv2048 d128 causal",
    "b1 h32 q4096 kv4096 d128 causal kv_heads8",
    "b4 h16 q2048 kv2048 d64 causal",
    "b4 h16 q2048 kv2048 d128",
    "b4 h16 q2048 kv2048 d64",
)
"""With a mask and without, of 128 and 64 columns a head; a long prompt with 4 query heads a head of keys."""

STEPS = (
    "b16 h32 q1 kv4096 d128 kv_heads8",
    "b16 h32 q1 kv4096 d128 kv_heads8 paged",
    "b1 h32 q1 kv16384 d128 kv_heads8",
    "b1 h32 q1 kv4096 d128 kv_heads8",
    "b16 h32 q1 kv16384 d128 kv_heads8",
    "b1 h32 q1 kv16384 d128 kv_heads8 paged",
)
"""Steps of decoding: one query a sequence, keys and values in one piece or in pages."""


def _layers(layout: str = "") -> tuple[str, ...]:
    """Batch 32, then batch 1."""
    return tuple(" ".join(f"n{n} {layer} {layout}".split()) for n in (32, 1) for layer in _LAYERS)


@dataclass(frozen=True)
class GpuSuite:
    """Cases that share a table.

    Attributes:
        operator, dtype: of all of them.
        form: what else they have in common, in a word; empty where the operator says it all.
        shapes: in the order in which they are measured.
    """

    operator: str
    dtype: str
    form: str
    shapes: tuple[str, ...]


# In the order in which one of each is measured before the next of any.
SUITES = (
    GpuSuite("gemm", "f16", "", PRODUCTS),
    GpuSuite("conv2d", "f16", "NHWC", _layers("nhwc")),
    GpuSuite("attention", "f16", "prompts", PROMPTS),
    GpuSuite("attention", "f16", "steps", STEPS),
    GpuSuite("gemm", "e4m3", "", _TURNED),
    GpuSuite("gemm", "int8", "", _TURNED),
    GpuSuite("conv2d", "f16", "NCHW", _layers()),
    GpuSuite("gemm", "bf16", "", PRODUCTS),
    GpuSuite("gemm", "f32", "", PRODUCTS),
    GpuSuite("gemm", "tf32", "", PRODUCTS),
    GpuSuite("attention", "bf16", "prompts", PROMPTS),
    GpuSuite("conv2d", "f32", "NCHW", _layers()),
    GpuSuite("attention", "bf16", "steps", STEPS),
)
OPERATORS = tuple(dict.fromkeys(suite.operator for suite in SUITES))
DTYPES = tuple(dict.fromkeys(suite.dtype for suite in SUITES))
# Shapes of each suite in a quick run.
_FEW = 2


@dataclass(frozen=True)
class GpuCase(Case):
    """One comparison; `form` is its suite's."""

    form: str


def kind(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What rows of one suite have in common."""
    return row["operator"], row["dtype"], str(row.get("form", ""))


def place(row: Mapping[str, Any]) -> tuple[int, int]:
    """Where a row of results stands: by suite, then as in it; what is asked for no longer comes last."""
    for number, suite in enumerate(SUITES):
        if (suite.operator, suite.dtype, suite.form) == kind(row):
            known = row["shape"] in suite.shapes
            return number, suite.shapes.index(row["shape"]) if known else len(suite.shapes)
    return len(SUITES), 0


def cases(only: Sequence[str] = (), dtypes: Sequence[str] = (), quick: bool = False) -> list[GpuCase]:
    """Everything to be measured, in this order: the first shape of every suite, then the second.

    Args:
        only: operators; none means all.
        dtypes: element types; none means all.
        quick: the first few shapes of each suite only.
    """
    asked = [s for s in SUITES if s.operator in (only or OPERATORS) and s.dtype in (dtypes or DTYPES)]
    most = _FEW if quick else max((len(suite.shapes) for suite in asked), default=0)
    return [
        GpuCase(suite.operator, shape, suite.dtype, suite.form)
        for number in range(most)
        for suite in asked
        for shape in suite.shapes[number : number + 1]
    ]
