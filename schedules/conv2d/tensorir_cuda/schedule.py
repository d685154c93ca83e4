"""The scheduled convolution: the GEMM's schedules, on the convolution's blocks."""

from collections.abc import Mapping
from typing import Any

from tuner.schedules.conv2d.tensorir_cuda.program import ConvProgram
from tuner.schedules.gemm.tensorir_cuda.schedule import scheduled


def module(options: Mapping[str, Any]) -> Any:
    """The scheduled module (`tvm.IRModule`) of `sizes` and `config`: what the builder calls."""
    return scheduled(ConvProgram(options["sizes"], options["config"]))
