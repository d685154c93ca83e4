"""Triton's interpreter in a process of its own: right or wrong, never a time.

One import of Triton either compiles or interprets (`TRITON_INTERPRET` when `@triton.jit` is met), so the
process that compiles cannot interpret. `Interpreter` starts one that can, and keeps it: importing torch takes
seconds.
"""

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.errors import MissingExtra, Unavailable
from tuner.core.kernel import Source

_ROOT = Path(__file__).resolve().parents[2]


class Interpreter:
    """A process that runs Triton sources on NumPy arrays; a context manager.

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
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuner.builders._triton_interpreter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=environment,
        )

    def run(self, source: Source, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one source once; all tensors as the kernel left them, workspaces included.

        Args:
            source: of language `triton`.
            tensors: by argument name, outputs too; not changed. Workspaces begin as zeros.

        Raises:
            RuntimeError: the kernel raises, or the process died.
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
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _send(self._process.stdin, (source.text, grid, dict(source.options), arguments))
            error, outputs = _receive(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"Triton's interpreter died ({self._process.wait(10)})") from None
        except Exception as problem:
            # A kernel that overwrote the process's memory may have it say anything.
            raise RuntimeError(f"Triton's interpreter gave an unusable answer: {brief(problem)}") from None
        if not isinstance(error, str) or not isinstance(outputs, dict):
            raise RuntimeError(f"Triton's interpreter gave an unusable answer: {brief(error)}")
        if error:
            raise RuntimeError(error)
        return dict(outputs)

    def close(self) -> None:
        """Ends the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)

    def __enter__(self) -> "Interpreter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    # Both ends are this file: nothing foreign is unpickled.
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))


def _interpret(
    text: str, grid: tuple[int, ...], options: Mapping[str, Any], arguments: dict[str, Any]
) -> Any:
    import importlib

    import torch

    module, _, name = text.partition(":")
    function = getattr(importlib.import_module(module), name)
    tensors = {n: torch.from_numpy(v.copy()) for n, v in arguments.items() if isinstance(v, np.ndarray)}
    function[grid](**{**arguments, **tensors, **options["constants"]})
    return {n: tensor.numpy() for n, tensor in tensors.items()}


def main() -> None:
    """Serves requests on standard input until it ends."""
    # What kernels print must not come between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: tuple[str, Any] = ("", _interpret(*request))
        except Exception as error:
            answer = (f"{type(error).__name__}: {error}", {})
        _send(out, answer)


if __name__ == "__main__":
    main()
