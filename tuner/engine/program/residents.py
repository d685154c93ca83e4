"""Arrays on a device that a program hands to a kernel: taken where they lie, or refused in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.device import Device
from tuner.core.operator import TensorSpec
from tuner.core.resident import Resident

# Vector loads and asynchronous copies take 16 bytes at a time; allocators align to 256 and more.
_ALIGNED = 16


def residents(
    device: Device, given: Mapping[str, Any], out: Any, names: Sequence[str]
) -> dict[str, Resident] | None:
    """The arrays by name, with `out` among them where there is one; `None` where none lies on the device.

    Args:
        device: of the kernel.
        given: inputs by name.
        out: what is to be written to, or `None`.
        names: the inputs' names, and the output's last.

    Raises:
        TypeError: some lie on the device and others do not; one has a mask or a gradient.
    """
    asked = {**{name: given[name] for name in names[:-1]}, **({} if out is None else {names[-1]: out})}
    found = {}
    for name, array in asked.items():
        try:
            found[name] = device.resident(array)
        except Exception as error:  # each library its own kind
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise TypeError(f"array {name} is a {type(array).__name__}: {said}") from None
    there = {name: array for name, array in found.items() if array is not None}
    if not there:
        return None
    for name in asked:
        if name not in there:
            raise TypeError(
                f"array {next(iter(there))} lies on the {device.called()} and {name} in the host's memory: "
                "give all of them from one place"
            )
    return there


def check_resident(device: Device, spec: TensorSpec, array: Resident, workload: str, what: str = "") -> None:
    """An array that a kernel can take where it lies.

    Raises:
        ValueError: it lies on another device, has another dtype or shape, is not C-contiguous or aligned, or
            is to be written to and read-only.
    """
    what = what or f"array {spec.name}"
    if array.device != device.index:
        kind = device.name
        raise ValueError(
            f"{what} lies on {kind}:{array.device}, the kernel was loaded for {kind}:{device.index}: load it "
            f"with device='{kind}:{array.device}', or move the array"
        )
    if array.shape != tuple(spec.shape) or array.dtype != spec.dtype:
        raise ValueError(
            f"{what} is {array.dtype}{list(array.shape)}, {workload} needs {spec.dtype}{list(spec.shape)}"
        )
    if not array.contiguous:
        steps = ", ".join(str(step) for step in array.strides or ())
        raise ValueError(
            f"{what} is not C-contiguous (strides of {steps} bytes): give a contiguous copy of it"
        )
    if array.address % _ALIGNED:
        raise ValueError(f"{what} does not lie on a boundary of {_ALIGNED} bytes: give a copy of it")
    if spec.output and not array.writable:
        raise ValueError(f"{what} is read-only")


def check_apart(output: Resident, name: str, array: Resident, sizes: tuple[int, int]) -> None:
    """The output shares no memory with an input: threads read what others have written already.

    Args:
        output, array: both C-contiguous.
        name: of the input.
        sizes: bytes of the output and of the input.

    Raises:
        ValueError: they overlap.
    """
    if output.address < array.address + sizes[1] and array.address < output.address + sizes[0]:
        raise ValueError(f"out overlaps array {name}: a kernel writes to the one while it reads the other")
