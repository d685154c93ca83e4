"""Runs one emulated kernel in a process of its own; also the layout of what crosses to its library.

Run as a script (`python child.py JOB.json`) it uses the standard library only, so that it starts in
30 ms. The job names the library, tensors and arguments; findings go to a file that survives a crash, tensors
back to the file they came from, and the launch's status to a file `status` beside the job.
"""

import ctypes
import json
import mmap
import struct
import sys
from pathlib import Path
from typing import Any

GUARD_BYTES = 32 * 2**20
"""Memory around each tensor in which a stray access is let through; memory.cpp knows the number too."""
MARGIN_BYTES = 4096
"""Of the guard, so much next to the tensor is filled with NaN."""
SCALARS: dict[str, type[Any]] = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
}
_BANK_RECORD, _MOST_BANK_RECORDS = 32, 4096  # bytes of a `BankRecord` of banks.cpp
_MAP_BYTES, _MAP_FORM, _MAP_MAGIC = 128, "<QQ4Q5I5HHHHH3h3h3H", 0x70616D726F736E74
_PLACED = 256  # cudaMalloc's alignment (CUDA C++ Programming Guide, "Device Memory Accesses")


class LaunchArguments(ctypes.Structure):
    """`LaunchArguments` of runtime.cpp."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("sanitize", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("shared", ctypes.c_void_p),
        ("shared_bytes", ctypes.c_uint64),
        ("entry", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
    )


STATUS = {
    1: "the kernel was stopped before all threads finished",
    2: "no memory for the stacks of the threads",
}
"""What a launch's result other than 0 means."""


class EmulatedLibrary:
    """A library the builder `cuda_emulated` made, loaded in this process.

    Args:
        path: the library; `path` with the ending .json describes it.

    Raises:
        OSError, AttributeError: it cannot be loaded, or is not such a library.
    """

    def __init__(self, path: Path) -> None:
        self.description: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        self._library = ctypes.CDLL(str(path))
        self._library.cuda_emulator_shared.restype = ctypes.c_void_p
        self._library.cuda_emulator_log.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        self._library.cuda_emulator_tensor.argtypes = [
            ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
        ]  # fmt: skip
        self._library.cuda_emulator_variable.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32]
        self._library.cuda_emulator_banks.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._library.cuda_emulator_banks.restype = ctypes.c_uint32
        self._library.cuda_emulator_launch.argtypes = [ctypes.c_void_p]
        self._library.cuda_emulator_launch.restype = ctypes.c_int
        self.forget()

    def forget(self) -> None:
        """No tensor is known any longer."""
        self._library.cuda_emulator_reset()
        for variable in self.description["variables"]:
            # g++ gives a static array of a class a guard variable, though there is nothing to initialize.
            checked = not variable["name"].startswith("_ZGV")
            self._library.cuda_emulator_variable(variable["offset"], variable["size"], checked)

    def log_to(self, memory: int, size: int) -> None:
        """Findings go to `size` zeroed bytes at address `memory`; a fatal signal is recorded there too."""
        self._library.cuda_emulator_log(memory, size)

    def fill_constants(self, contents: dict[str, bytes]) -> None:
        """Fills the `__constant__` arrays of the declaration; `contents` are the tensors that it names.

        Raises:
            ValueError: an array has not the size of what it is to hold.
        """
        for number, constant in enumerate(self.description.get("constants", ())):
            size = ctypes.c_ulong()
            place = getattr(self._library, f"cuda_emulator_constant_{number}")
            place.restype = ctypes.c_void_p
            address = place(ctypes.byref(size))
            if "tensor" in constant:
                data = contents.get(constant["tensor"])
                if data is None:
                    name = constant["tensor"]
                    raise ValueError(f"constant {constant['name']}: the workload has no tensor {name}")
            else:
                numbers = constant["numbers"]
                data = struct.pack(f"<{len(numbers)}{constant['kind']}", *numbers)
            if len(data) > size.value:
                needs = f"{constant['name']} has {size.value} bytes, and what it is to hold {len(data)}"
                raise ValueError(f"constant {needs}")
            ctypes.memmove(address, data, len(data))

    def banks(self) -> bytes:
        """`BankRecord`s of the launches since the last call: bank conflicts by place of code."""
        records = ctypes.create_string_buffer(_BANK_RECORD * _MOST_BANK_RECORDS)
        count = self._library.cuda_emulator_banks(records, _MOST_BANK_RECORDS)
        return records.raw[: _BANK_RECORD * count]

    def tensor(self, address: int, size: int, granule: int, initialized: bool) -> None:
        """Makes memory known to the sanitizers; `granule` is the size of an element in bytes."""
        self._library.cuda_emulator_tensor(address, size, granule, int(initialized))

    def launch(
        self, grid: list[int], block: list[int], pointers: Any, seed: int, entry: str = "cuda_emulator_entry"
    ) -> int:
        """Runs the grid of a kernel; 0, or a key of `STATUS`. `pointers` is an array of pointers to the
        arguments, `entry` one of `entries` of the number of kernels.
        """
        given = LaunchArguments()
        given.grid[:], given.block[:] = grid, block
        given.sanitize, given.seed = int(self.description["sanitize"]), seed
        dynamic = int(self._library.cuda_emulator_shared())
        given.shared = dynamic - self.description["dynamic_offset"]
        given.shared_bytes = self.description["block_bytes"]
        given.entry = ctypes.cast(getattr(self._library, entry), ctypes.c_void_p).value
        given.arguments = ctypes.addressof(pointers)
        return int(self._library.cuda_emulator_launch(ctypes.byref(given)))


def entries(count: int) -> list[str]:
    """The symbols by which the kernels of a library are called, in the order they are launched."""
    return [*(f"cuda_emulator_entry_{i}" for i in range(count - 1)), "cuda_emulator_entry"]


def guarded(size: int) -> tuple[mmap.mmap, int]:
    """Memory for a tensor with guards on both sides, and its address: the mapping must be kept."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    memory = mmap.mmap(-1, 2 * GUARD_BYTES + size + _PLACED, flags=flags)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + GUARD_BYTES
    ctypes.memset(address - MARGIN_BYTES, 0xFF, MARGIN_BYTES)
    ctypes.memset(address + size, 0xFF, MARGIN_BYTES)
    return memory, address


def by_value(argument: dict[str, Any], addresses: dict[str, int]) -> Any:
    """An argument as a ctypes value: a number, a pointer (null where no tensor is), or a struct."""
    if argument["kind"] == "struct":
        fields = [by_value(field, addresses) for field in argument["fields"]]

        class Struct(ctypes.Structure):
            _fields_ = tuple((f"f{i}", type(value)) for i, value in enumerate(fields))

        return Struct(*fields)
    if argument["kind"] == "map":
        return tensor_map(argument, addresses[argument["name"]])
    if argument["kind"] in SCALARS:
        return SCALARS[argument["kind"]](argument.get("value"))
    return ctypes.c_void_p(addresses.get(argument["name"]))


def tensor_map(argument: dict[str, Any], address: int) -> Any:
    """A tensor map of an emulated kernel: `EmulatedMap` of bulk.cpp, at a multiple of 64 bytes."""
    values = [(field["name"].partition(" ")[0], field["value"]) for field in argument["fields"]]
    dims, box, lower, upper, steps = (
        [value for name, value in values if name == which]
        for which in ("dim", "box", "lower", "upper", "step")
    )
    rest, rank, strides = dict(values), len(dims), []
    size = rest["element_bytes"]
    for dim in dims[:-1]:
        size *= dim
        strides.append(size)

    def padded(numbers: list[int], count: int) -> list[int]:
        return [*numbers, *[0] * (count - len(numbers))]

    packed = struct.pack(
        _MAP_FORM, _MAP_MAGIC, address, *padded(strides, 4), *padded(dims, 5), *padded(box, 5), rank,
        rest["element_bytes"], rest["swizzle"], bool(steps), *padded(lower, 3), *padded(upper, 3),
        *padded(steps, 3),
    )  # fmt: skip
    memory = (ctypes.c_ubyte * (_MAP_BYTES + 64))()
    made = (ctypes.c_ubyte * _MAP_BYTES).from_buffer(memory, -ctypes.addressof(memory) % 64)
    ctypes.memmove(made, packed, len(packed))
    return made


def run(job: dict[str, Any]) -> int:
    """Runs a job (see `_emulated_check`); the status of the last launch."""
    library = EmulatedLibrary(Path(job["library"]))
    with Path(job["findings"]).open("r+b") as file:
        log = mmap.mmap(file.fileno(), 0)
    library.log_to(ctypes.addressof(ctypes.c_char.from_buffer(log)), len(log))
    status = 0
    kept: list[Any] = []
    with Path(job["tensors"]).open("r+b") as file:
        content = mmap.mmap(file.fileno(), 0)
    source = ctypes.addressof(ctypes.c_char.from_buffer(content))
    addresses: dict[str, int] = {}
    for tensor in job["memory"]:
        mapping, address = guarded(tensor["bytes"])
        kept.append(mapping)
        addresses[tensor["name"]] = address
        ctypes.memmove(address, source + tensor["offset"], tensor["bytes"])
        library.tensor(address, tensor["bytes"], tensor["granule"], tensor["initialized"])
    pointers = (ctypes.c_void_p * max(1, len(job["arguments"])))()
    for i, argument in enumerate(job["arguments"]):
        scalar = by_value(argument, addresses)
        kept.append(scalar)
        pointers[i] = ctypes.addressof(scalar)
    library.fill_constants(
        {t["name"]: content[t["offset"] : t["offset"] + t["bytes"]] for t in job["memory"]}
    )
    for launch in range(job["launches"]):
        seed = job["seed"] + launch * bool(job["seed"])
        status = library.launch(job["grid"], job["block"], pointers, seed, job["entry"])
        if status != 0:
            break
    if library.description["sanitize"]:
        Path(job["findings"]).with_name("banks").write_bytes(library.banks())
    for tensor in job["memory"]:
        ctypes.memmove(source + tensor["offset"], addresses[tensor["name"]], tensor["bytes"])
    return status


if __name__ == "__main__":
    # To a file: standard output belongs to the kernel's printf.
    status = run(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[1]).with_name("status").write_text(str(status))
    # Mappings still have exported pointers: leave without tearing the interpreter down.
    import os

    os._exit(0)
