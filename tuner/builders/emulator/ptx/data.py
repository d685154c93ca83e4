"""PTX that moves data: loads and stores, cp.async, atomics, fences (PTX ISA 9.7.9, 9.7.13)."""

import re
from collections.abc import Sequence

from tuner.builders.emulator.ptx.names import PTX, Unknown, Writer, cxx_type, nothing_left, take
from tuner.builders.emulator.ptx.ptx_text import vector_parts

_EMULATOR = "cuda_emulator::"
_SPACES = (".global", ".shared", ".shared::cta", ".shared::cluster", ".local", ".const", ".param")
_SCOPES = (".cta", ".cluster", ".gpu", ".sys")
_HINT = re.compile(r"\.(nc|ca|cg|cs|lu|cv|wb|wt|L1::\w+|L2::\w+|level::\w+|unified)")


def _hints(modifiers: list[str]) -> None:
    """Removes what changes no value: cache operators, eviction priorities, prefetch sizes."""
    modifiers[:] = [m for m in modifiers if not _HINT.fullmatch(m)]


def _where(modifiers: list[str]) -> str:
    """Removes the state space; as `Writer.address` takes it."""
    space = take(modifiers, *_SPACES)
    if space in (".param", ".const"):
        raise Unknown(f" with {space}")
    if space == ".shared::cluster":
        return "cluster"
    return "shared" if space.startswith(".shared") else "generic"


def _memory_order(modifiers: list[str], space: str) -> str:
    order = take(modifiers, ".weak", ".volatile", ".relaxed", ".acquire", ".release", ".acq_rel", ".mmio")
    take(modifiers, *_SCOPES)
    # Volatile shared memory is the old way to leave __syncwarp out: no more than an access.
    return "" if order == ".weak" or (order == ".volatile" and space != "generic") else order


def _count(modifiers: list[str]) -> int:
    return int(take(modifiers, ".v2", ".v4", ".v8")[2:] or 1)


def _one_type(modifiers: list[str]) -> str:
    kind = modifiers.pop() if modifiers else ""
    nothing_left(modifiers)
    return cxx_type(kind)


def _ld(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    _hints(modifiers)
    space = _where(modifiers)
    order, count = _memory_order(modifiers, space), _count(modifiers)
    kind = _one_type(modifiers)
    load = f"{PTX}load{'_atomic' if order else ''}<{kind}, {count}>"
    targets = vector_parts(operands[0])
    if len(targets) != count:
        raise Unknown(f" with {len(targets)} registers for {count} values")
    value = f"const auto cuda_emu_value = {load}({writer.address(operands[1], space)});"
    return " ".join([value, *(writer.put(t, f"cuda_emu_value.of[{i}]") for i, t in enumerate(targets))])


def _st(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    _hints(modifiers)
    space = _where(modifiers)
    order, count = _memory_order(modifiers, space), _count(modifiers)
    name = modifiers[-1] if modifiers else ""
    kind = _one_type(modifiers)
    sources = vector_parts(operands[1])
    if len(sources) != count:
        raise Unknown(f" with {len(sources)} registers for {count} values")
    values = ", ".join(writer.get(name, s) for s in sources)
    fence = f"{_EMULATOR}cuda_emu_fence(1); " if order == ".release" else ""
    store = f"{PTX}store{'_atomic' if order else ''}<{kind}, {count}>"
    vector = f"{PTX}Vector<{kind}, {count}>{{{{{values}}}}}"
    return f"{fence}{store}({writer.address(operands[0], space)}, {vector});"


def _cp(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if not take(modifiers, ".async"):
        raise Unknown
    if take(modifiers, ".commit_group"):
        nothing_left(modifiers)
        return f"{_EMULATOR}cuda_emu_async_commit(nullptr);"
    if take(modifiers, ".wait_group"):
        nothing_left(modifiers)
        return f"{_EMULATOR}cuda_emu_async_wait({writer.get('b32', operands[0])});"
    if take(modifiers, ".wait_all"):
        nothing_left(modifiers)
        return f"{PTX}copy_async_all();"
    whole_line = take(modifiers, ".cg")
    if not whole_line and not take(modifiers, ".ca"):
        raise Unknown
    _hints(modifiers)
    if take(modifiers, ".shared", ".shared::cta", ".shared::cluster") and take(modifiers, ".global"):
        nothing_left(modifiers)
        return _cp_async(writer, operands)
    raise Unknown


def _cp_async(writer: Writer, operands: Sequence[str]) -> str:
    """`[to], [from], size`, then the bytes that are there to copy, or a predicate to copy none."""
    to, source = writer.address(operands[0], "shared"), writer.address(operands[1], "generic")
    size = writer.get("b32", operands[2])
    given = size
    if len(operands) > 3:
        given = writer.get("b32", operands[3])
        if writer.is_predicate(operands[3]):
            given = f"({writer.predicate(operands[3])} ? 0u : {size})"
    return f"{PTX}copy_async({to}, {source}, {size}, {given});"


def _cvta(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    to = take(modifiers, ".to")
    space = _where(modifiers)
    kind = modifiers[-1] if modifiers else ""
    cxx_type(kind)
    value = writer.get("b64", operands[1])
    if space != "generic" and to:
        value = f"{_EMULATOR}cuda_emu_{space}_address((const void*){value})"
    elif space != "generic":
        value = f"{PTX}b64({_EMULATOR}cuda_emu_{space}_pointer({PTX}b32({value})))"
    return writer.put(operands[0], f"{cxx_type(kind)}({value})")


def _atomic(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """atom d, [a], b, c; red [a], b."""
    _hints(modifiers)
    space = _where(modifiers)
    order = take(modifiers, ".relaxed", ".acquire", ".release", ".acq_rel")
    take(modifiers, *_SCOPES)
    take(modifiers, ".noftz")
    word = take(modifiers, ".add", ".exch", ".min", ".max", ".and", ".or", ".xor", ".inc", ".dec", ".cas")
    name = modifiers[-1] if modifiers else ""
    _one_type(modifiers)
    if not word:
        raise Unknown
    target, *rest = operands if not operands[0].startswith("[") else ("_", *operands)
    values = ", ".join(writer.get(name, o) for o in rest[1:])
    call = f"{PTX}atomic_{word[1:]}({writer.address(rest[0], space)}, {values})"
    fence = f"{_EMULATOR}cuda_emu_fence(1); " if order in (".release", ".acq_rel") else ""
    return fence + writer.put(target, call)


def _fence(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    words = {".sc", ".acq_rel", ".acquire", ".release", *_SCOPES, ".gl", ".mbarrier_init", ".proxy", ".async",
             ".shared::cta", ".global"}  # fmt: skip
    nothing_left([m for m in modifiers if m not in words])
    if ".proxy" in modifiers and ".async" in modifiers:
        return f"{_EMULATOR}cuda_emu_proxy_fence();"
    return f"{_EMULATOR}cuda_emu_fence(1);"


def _nothing(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """Prefetches and the like: no value depends on them."""
    return ";"


def _policy(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return writer.put(operands[0], f"{PTX}b64(0)")


def _isspacep(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    is_shared = f"{_EMULATOR}cuda_emu_is_shared((const void*){writer.get('b64', operands[1])})"
    value = {".shared": is_shared, ".global": f"!{is_shared}"}[modifiers[0]]
    return f"{writer.name(operands[0])} = {value};"


DATA = {
    "ld": _ld, "ldu": _ld, "st": _st, "cp": _cp, "cvta": _cvta, "atom": _atomic, "red": _atomic,
    "fence": _fence, "membar": _fence, "prefetch": _nothing, "prefetchu": _nothing, "discard": _nothing,
    "applypriority": _nothing, "griddepcontrol": _nothing, "pmevent": _nothing, "createpolicy": _policy,
    "isspacep": _isspacep,
}  # fmt: skip
