"""The options and tensors of the conv2d operator, for every kernel in this folder."""

from collections.abc import Mapping

from tuner.core.workload import Option

OPTIONS: Mapping[str, Option] = {
    "stride": 1,
    "pad": 0,
    "dilation": 1,
    "groups": 1,
    "nhwc": False,
    "bias": False,
    "relu": False,
}
"""What f32 and f16 workloads have."""
SCALES: Mapping[str, Option] = {"scale_tensor": False, "scale_channel": False}
"""What int8 ones have besides."""
TENSORS = ("X", "W", "bias", "scale", "Y")
