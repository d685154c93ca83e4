"""The shapes of `python -m tuner.lab.bench_depth`: none that a figure of the lab was made with.

They are layers of networks that no workload set has, so that neither kernels nor shipped starts were chosen
at them (`tests/lab/test_bench_depth.py` compares them with the other benches').
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthCase:
    """One shape, tuned with one kernel.

    Attributes:
        operator, shape, dtype: as the command line has them.
        kernels: the first of these that can serve is tuned: the one that usually wins at such a shape.
    """

    operator: str
    shape: str
    dtype: str
    kernels: tuple[str, ...]


# Operators in turn: who stops early has some of each.
CASES = (
    DepthCase("gemm", "768x768x768", "f32", ("cpp_packed",)),
    # VGG-16, its third block.
    DepthCase("conv2d", "n1 c256 h56 w56 k256 r3 s3 pad1", "f32", ("conv_winograd",)),
    # BERT large, 256 tokens.
    DepthCase("attention", "1x16x256x256x64", "f32", ("attn_flash",)),
    # ViT-B/16: 196 patches and one more token.
    DepthCase("gemm", "197x768x768", "f32", ("cpp_packed",)),
    # ConvNeXt-T, pointwise at 28 x 28.
    DepthCase("conv2d", "n1 c192 h28 w28 k768 r1 s1", "f32", ("conv_implicit_gemm",)),
    DepthCase("gemm", "197x3072x768", "int8", ("cpp_amx", "cpp_packed")),
    # BERT large, 384 tokens.
    DepthCase("gemm", "384x4096x1024", "f32", ("cpp_packed",)),
    # ResNet-18, where it halves the image.
    DepthCase(
        "conv2d", "n1 c64 h56 w56 k128 r3 s3 stride2 pad1 frozen", "f32", ("conv_blocked_ahead",)
    ),
    # Swin-T, its first feed-forward part.
    DepthCase("gemm", "3136x384x96", "f32", ("cpp_packed",)),
    # CLIP's text encoder, 77 tokens.
    DepthCase("gemm", "77x2048x512", "f32", ("cpp_packed",)),
)  # fmt: skip
