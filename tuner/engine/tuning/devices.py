"""Which device of this machine is measured on."""

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import Unavailable, UnknownName
from tuner.core.measurement import Evidence


def find_device(name: str | None = None, target: str | None = None) -> Device:
    """The device to measure on.

    Args:
        name: `cpu`, `cuda`, or one of several as `cuda:1`; `None`: of the target's kind, else the CPU.
        target: a name such as `cuda:sm_90`; the device must run code of this architecture.

    Raises:
        UnknownName: there is no such kind of device, or what it does is not measured.
        Unavailable: there is none here, not so many, or none of this architecture.
    """
    kind, _, number = (name if name is not None else (target or "cpu").partition(":")[0]).partition(":")
    # An emulator runs kernels, but never has a time.
    classes = registry.device_classes().items()
    kinds = {known: item for known, item in classes if item.evidence is Evidence.MEASURED}
    if kind not in kinds:
        raise UnknownName("device", kind, list(kinds))
    found = kinds[kind].discover()
    if not found:
        reason = kinds[kind].unavailable() or "none found"
        if kind != "cuda":
            raise Unavailable(f"no device {kind!r} on this machine: {reason}")
        wanted = f" to measure {target}" if target else ""
        raise Unavailable(
            f"no GPU on this machine{wanted}: {reason}; --target {target or 'cuda:sm_90'} --no-device "
            "compiles, checks and ranks without one"
        )
    if number and (
        not (number.isascii() and number.isdigit() and len(number) < 10) or int(number) >= len(found)
    ):
        known = ", ".join(f"{kind}:{i} ({d.facts().get('model', kind)})" for i, d in enumerate(found))
        raise Unavailable(f"no device {name!r} on this machine: there is {known}")
    # A CPU runs code of any target of its kind as far as its features go: the compiler is told the device's.
    fitting = [d for d in found if target in (None, d.target.name) or kind == "cpu"]
    chosen = found[int(number)] if number else (fitting or found)[0]
    if chosen not in fitting:
        has = ", ".join(f"{d.facts().get('model', kind)} runs {d.target.name}" for d in found)
        raise Unavailable(
            f"no device for {target} on this machine: {has}; --no-device only compiles and ranks"
        )
    return chosen
