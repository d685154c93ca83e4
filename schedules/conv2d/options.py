"""The options and tensors of the conv2d operator, for every kernel in this folder."""

from collections.abc import Mapping

from tuner.core.activations import BEYOND_RELU
from tuner.core.workload import Option, Workload

OPTIONS: Mapping[str, Option] = {
    "stride": 1,
    "pad": 0,
    "pad_top": 0,
    "pad_left": 0,
    "pad_bottom": 0,
    "pad_right": 0,
    "dilation": 1,
    "groups": 1,
    "nhwc": False,
    "bias": False,
    "relu": False,
}
"""What f32 and f16 workloads have."""
EPILOGUE: Mapping[str, Option] = {"residual": False, **dict.fromkeys(BEYOND_RELU, False)}
"""What they have besides; a kernel says that it has them."""
SCALES: Mapping[str, Option] = {"scale_tensor": False, "scale_channel": False}
"""What int8 ones have besides."""
TENSORS = ("X", "W", "bias", "residual", "scale", "Z", "Y")


def padding_of(workload: Workload) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros (above, below) and (left, right) of the image: `pad` on all sides, or each of its own."""
    top, left, bottom, right = (
        int(workload.option("pad", 0)) + int(workload.option(f"pad_{side}", 0))
        for side in ("top", "left", "bottom", "right")
    )
    return (top, bottom), (left, right)
