"""Triton's interpreter in a process of its own: right or wrong, never a time.

One import of Triton either compiles or interprets (`TRITON_INTERPRET` when `@triton.jit` is met), so the
process that compiles cannot interpret. `TritonInterpreter` starts one that can, and keeps it: to import torch
takes seconds.
"""

import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from io import BufferedRWPair
from types import TracebackType
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.contained import Caps, Contained
from tuner.core.errors import MissingExtra, Unavailable
from tuner.core.kernel import Source
from tuner.core.places import ROOT
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch

# torch itself takes so much, and more than a minute to import on a loaded machine.
_TORCH_BYTES, _STARTS_WITHIN_S = 2**30, 180.0
# The news of a process whose socket closed.
_TELLS_WITHIN_S = 10.0


class TritonInterpreter:
    """A process that runs Triton sources on NumPy arrays, under the limits of a run; a context manager.

    After an error of the process itself (`alive` is false) another one is needed.

    Raises:
        MissingExtra: torch is not installed: the interpreter takes its CPU tensors.
        Unavailable: Triton is not installed.
    """

    def __init__(self) -> None:
        from importlib.util import find_spec

        if find_spec("triton") is None:
            raise Unavailable("Triton is not installed: it has wheels for Linux only")
        if find_spec("torch") is None:
            raise MissingExtra("Triton's interpreter", "torch")
        # One thread: the programs of a grid run one after the other, on tiles of a few kilobytes.
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        self._scratch = Scratch("triton-")
        self._caps = Caps(memory_bytes=Protocol().memory_bytes + _TORCH_BYTES).on_this_machine()
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tuner.builders.triton.interpreter", str(theirs.fileno())]
        self._process = Contained(
            command, self._caps, self._scratch.path / "output", [theirs.fileno()], ROOT, environment
        )
        theirs.close()
        self._stream = self._socket.makefile("rwb")
        self._ready, self.alive = False, True

    def run(
        self, source: Source, tensors: Mapping[str, np.ndarray], timeout_s: float = 120.0
    ) -> dict[str, np.ndarray]:
        """Runs one source once; all tensors as the kernel left them, workspaces included.

        Args:
            source: of language `triton`.
            tensors: by argument name, outputs too; not changed. Workspaces begin as zeros.
            timeout_s: wall clock, after the process has imported torch.

        Raises:
            RuntimeError: the kernel raises, the process died or was ended at a limit.
        """
        arguments: dict[str, Any] = {}
        for argument in source.arguments:
            if argument.kind == "workspace":
                dtype = np.float32 if source.options["signature"][argument.name] == "*fp32" else np.int32
                arguments[argument.name] = np.zeros(int(argument.value or 0) // 4, dtype)
            else:
                tensor = argument.kind == "tensor"
                arguments[argument.name] = tensors[argument.name] if tensor else argument.value
        grid = source.launch.grid if source.launch else (1, 1, 1)
        try:
            if not self._ready:
                self._socket.settimeout(_STARTS_WITHIN_S)
                self._ready = bool(_receive(self._stream))
            self._socket.settimeout(timeout_s)
            _send(self._stream, (source.text, grid, dict(source.options), arguments))
            error, outputs = _receive(self._stream)
        except TimeoutError:
            self.close()
            raise RuntimeError(f"no end after {self._socket_timeout(timeout_s):g} s") from None
        except (EOFError, OSError):
            raise RuntimeError(self._why()) from None
        except Exception as problem:
            # A kernel that overwrote the process's memory may have it say anything.
            self.close()
            raise RuntimeError(f"Triton's interpreter gave an unusable answer: {brief(problem)}") from None
        except BaseException:
            self.close()  # interrupted within an answer
            raise
        if not isinstance(error, str) or not isinstance(outputs, dict):
            self.close()
            raise RuntimeError(f"Triton's interpreter gave an unusable answer: {brief(error)}")
        if error:
            raise RuntimeError(error)
        return dict(outputs)

    def _socket_timeout(self, timeout_s: float) -> float:
        return timeout_s if self._ready else _STARTS_WITHIN_S

    def _why(self) -> str:
        """How the process ended; nothing of it is left."""
        ended = self._process.wait(_TELLS_WITHIN_S)
        self.close()
        if ended.passed in ("time", "memory", "output"):
            return self._caps.excess(ended.passed)
        lines = [line for line in ended.output.splitlines() if line.strip()] or ["no message"]
        return f"Triton's interpreter died ({ended.code}): {lines[-1].strip()[:300]}"

    def close(self) -> None:
        """Ends the process and all it started."""
        self.alive = False
        self._socket.close()
        self._process.close()
        self._scratch.close()

    def __enter__(self) -> "TritonInterpreter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _send(stream: BufferedRWPair, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: BufferedRWPair) -> Any:
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    # Both ends are this file: nothing foreign is unpickled.
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))


def _widened_products() -> None:
    """Has `tl.dot` of bf16 and 8-bit floats multiply their values: Triton 3.9's interpreter multiplies the
    bits of bf16, and loses the NaN and infinities of 8-bit floats. Products are exact in f32."""
    import ml_dtypes
    from triton.runtime import interpreter

    names = {"bf16": "bfloat16", "fp8e4nv": "float8_e4m3fn", "fp8e5": "float8_e5m2"}
    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    made = builder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        def wide(x: Any) -> Any:
            name = names.get(str(x.dtype.scalar))
            if name is None:
                return x
            return handle(x.data.view(getattr(ml_dtypes, name)).astype(np.float32), interpreter.tl.float32)

        return made(self, wide(a), wide(b), *others)

    builder.create_dot = create_dot


def scalars_are_indices() -> None:
    """Has a kernel's scalars bound its loops: up to 3.6 Triton's interpreter makes an `int` of an array of
    one element, which NumPy refuses since 2.4."""
    from triton.runtime import interpreter

    made = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        def index(self: Any) -> int:
            return int(self.handle.data.item())

        made(tensor, *scope)
        # Since 3.6 what is set is taken back after a launch.
        if scope:
            scope[0].set_attr(tensor, "__index__", index)
        else:
            tensor.__index__ = index

    interpreter._patch_lang_tensor = patched


def _interpret(
    text: str, grid: tuple[int, ...], options: Mapping[str, Any], arguments: dict[str, Any]
) -> Any:
    import importlib

    import torch

    module, _, name = text.partition(":")
    function = getattr(importlib.import_module(module), name)
    arrays = {n: v.copy() for n, v in arguments.items() if isinstance(v, np.ndarray)}

    def tensor(array: np.ndarray) -> torch.Tensor:
        """The same memory; types that NumPy learnt from `ml_dtypes` torch knows by their names and bits."""
        if array.dtype.isbuiltin == 1:
            return torch.from_numpy(array)
        bits = array.view(f"int{8 * array.itemsize}")
        return torch.from_numpy(bits).view(getattr(torch, array.dtype.name))

    tensors = {n: tensor(array) for n, array in arrays.items()}
    function[grid](**{**arguments, **tensors, **options["constants"]})
    return arrays


def main() -> None:
    """Serves requests on the socket that is its argument until it ends."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores: it prints into the void for ever
    stream = socket.socket(fileno=int(sys.argv[1])).makefile("rwb")
    import torch  # noqa: F401 (now, not within the time of the first kernel)

    _widened_products()
    scalars_are_indices()
    _send(stream, "ready")
    while True:
        try:
            request = _receive(stream)
        except EOFError:
            return
        try:
            answer: tuple[str, Any] = ("", _interpret(*request))
        except Exception as error:
            answer = (f"{type(error).__name__}: {error}", {})
        _send(stream, answer)


if __name__ == "__main__":
    main()
