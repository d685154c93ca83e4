"""Importing TVM in a quarter of the time: without PyTorch, which it would load because it is installed."""

import gc
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoTorch(MetaPathFinder):
    """Refuses torch: in `sys.modules` it is absent, not `None`, which SciPy takes for the module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torch":
            raise ModuleNotFoundError("torch is left out while TVM is imported", name="torch")
        return None


def quick_import(*modules: str) -> None:
    """Imports modules as if PyTorch were not installed, and without garbage collections meanwhile.

    `tvm_ffi` imports torch so that it can take its tensors without a copy, which nobody here asks for: 1.5 s
    of the 2.3 s that `import tvm` takes with torch installed, and 900 modules that every fork of such a
    process drags along. A torch that is imported already stays; one imported later works as ever, and TVM
    takes its tensors through DLPack like those of any library.
    """
    hidden, collecting = "torch" not in sys.modules, gc.isenabled()
    finder = _NoTorch()
    if hidden:
        sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        for name in modules:
            importlib.import_module(name)
    finally:
        if hidden:
            sys.meta_path.remove(finder)
        if collecting:
            gc.enable()
