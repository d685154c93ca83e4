"""TVM, imported by importing this module: what the warm processes of builders of TensorIR preload."""

from tuner.core.quick_import import quick_import

quick_import("tvm", "tvm.s_tir", "tvm.script", "tvm.script.parser")
