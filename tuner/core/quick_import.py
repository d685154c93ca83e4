"""Importing TVM in a quarter of the time: without PyTorch, which it would load because it is installed."""

import gc
import importlib
import sys


def quick_import(*modules: str) -> None:
    """Imports modules as if PyTorch were not installed, and without garbage collections meanwhile.

    `tvm_ffi` imports torch so that it can take its tensors without a copy, which nobody here asks for: 1.5 s
    of the 2.3 s that `import tvm` takes with torch installed, and 900 modules that every fork of such a
    process drags along. A torch that is imported already stays; one imported later works as ever, and TVM
    takes its tensors through DLPack like those of any library.
    """
    hidden, collecting = "torch" not in sys.modules, gc.isenabled()
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    gc.disable()
    try:
        for name in modules:
            importlib.import_module(name)
    finally:
        if hidden:
            del sys.modules["torch"]
        if collecting:
            gc.enable()
