"""Which device of this machine is measured on."""

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import Unavailable, UnknownName
from tuner.core.measurement import Evidence


def measuring_kinds() -> dict[str, type[Device]]:
    """The device classes that measure, by name: an emulator runs kernels, but never has a time."""
    classes = registry.device_classes().items()
    return {name: item for name, item in classes if item.evidence is Evidence.MEASURED}


def find_device(name: str | None = None, target: str | None = None) -> Device:
    """The device to measure on.

    Args:
        name: of a device class, as `cpu`, or one of several devices as `cuda:1`; `None`: of the target's
            kind, else this machine's usual one.
        target: a name such as `cuda:sm_90`, or a kind of target; the device must run code of it.

    Raises:
        UnknownName: there is no such kind of device or target, or what it does is not measured.
        Unavailable: there is none here, not so many, or none that runs the target.
    """
    known = measuring_kinds()
    kind, number = _asked(name, target, known)
    if target is not None:
        _known_target(target, known)
    found = known[kind].discover()
    if not found:
        raise Unavailable(_missing(known[kind], target))
    if number and (
        not (number.isascii() and number.isdigit() and len(number) < 10) or int(number) >= len(found)
    ):
        there = ", ".join(f"{kind}:{i} ({_model(d)})" for i, d in enumerate(found))
        raise Unavailable(f"no device {name!r} on this machine: there is {there}")
    fitting = [d for d in found if target in (None, d.target.kind) or d.runs(str(target))]
    chosen = found[int(number)] if number else (fitting or found)[0]
    if chosen not in fitting:
        has = ", ".join(f"{_model(d)} runs {d.target.name}" for d in found)
        raise Unavailable(
            f"no device for {target} on this machine: {has}; --no-device only compiles and ranks"
        )
    return chosen.opened_as(target) if target and ":" in target else chosen


def default_device(name: str | None = None) -> Device:
    """The first device of a class, by default of the one that measures where nobody names one.

    Raises:
        UnknownName: there is no such class.
        Unavailable: there is none here, with the reason.
    """
    return find_device(name)


def _asked(name: str | None, target: str | None, known: dict[str, type[Device]]) -> tuple[str, str]:
    """The name of a device class, and which of its devices: a number, or nothing."""
    if name is not None:
        kind, _, number = name.partition(":")
        if kind not in known:
            raise UnknownName("device", kind, list(known))
        return kind, number
    if target is None:
        return next((n for n, item in known.items() if item.usual), next(iter(known))), ""
    wanted = target.partition(":")[0]
    if wanted not in registry.target_kinds():
        raise UnknownName("target", target, list(registry.target_kinds()))
    for kind, item in known.items():
        if item.target_kind == wanted:
            return kind, ""
    raise Unavailable(
        f"no kind of device runs {wanted} targets: --no-device compiles and ranks where a model is"
    )


def _known_target(target: str, known: dict[str, type[Device]]) -> None:
    """An unknown architecture is named before the lack of a device is."""
    kind, _, arch = target.partition(":")
    here = (d for item in known.values() if item.target_kind == kind for d in item.discover())
    if arch and not any(device.runs(target) for device in here):
        registry.target(target)


def _missing(item: type[Device], target: str | None) -> str:
    reason = item.unavailable() or "none found"
    kind = registry.target_kinds().get(item.target_kind)
    named = target if target is not None and ":" in target else None
    described = registry.target(named) if named else (kind.default() if kind else None)
    if described is None or described.model is None:
        return f"no {item.called()} on this machine: {reason}"
    wanted = f" to measure {target}" if target else ""
    return (
        f"no {item.called()} on this machine{wanted}: {reason}; --target {described.name} --no-device "
        "compiles, checks and ranks without one"
    )


def _model(device: Device) -> str:
    return str(device.facts().get("model", device.name))
