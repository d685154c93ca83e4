"""The tensor intrinsics of one kind of target: what MetaSchedule's rules look up, and no more."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.core.quick_stack import quick_stack

_PACKAGE = "tvm.s_tir.tensor_intrin"


def _needed(target: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The package's modules for a target (TVM's, as plain values); `None`: all of them."""
    if target.get("kind") == "cuda":
        return ("cuda",)
    if target.get("kind") == "llvm":
        return ("x86",) if str(target.get("mtriple", "")).startswith("x86_64") else ("arm_cpu", "x86")
    return None


@contextmanager
def intrinsics(target: Mapping[str, Any]) -> Iterator[None]:
    """The intrinsics of a target are registered; while this lasts, importing the package adds no others.

    A `TuneContext` imports `tvm.s_tir.tensor_intrin`, which parses the functions of every target TVM knows:
    2 s, of which those of x86 are 0.1 s. In the package's place is an empty one meanwhile, so that only the
    modules asked for are executed. Afterwards the empty package is gone: a later import gets all intrinsics.
    """
    import tvm.s_tir

    names = _needed(target)
    if _PACKAGE in sys.modules or names is None:
        with quick_stack():
            importlib.import_module(_PACKAGE)
        yield
        return
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(str(tvm.s_tir.__file__)).parent / "tensor_intrin")]
    sys.modules[_PACKAGE] = package
    try:
        with quick_stack():
            for name in names:
                importlib.import_module(f"{_PACKAGE}.{name}")
        yield
    finally:
        del sys.modules[_PACKAGE]
        if getattr(tvm.s_tir, "tensor_intrin", None) is package:
            del tvm.s_tir.tensor_intrin
