"""`inspect.stack` without reading source: TVM's tensor intrinsics are imported in seconds with it."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def quick_stack() -> Iterator[None]:
    """`inspect.stack` without source text while this lasts.

    TVMScript asks for the stack once a parsed function and looks at frames and their names only, but
    `inspect.stack` finds the source line of every frame too, by scanning `sys.modules`: with 2,000 modules
    the import of `tvm.s_tir.tensor_intrin` takes 76 s, and 6 s without.
    """
    original = inspect.stack

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        found = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
            frame = frame.f_back
        return found

    inspect.stack = stack
    try:
        yield
    finally:
        inspect.stack = original
