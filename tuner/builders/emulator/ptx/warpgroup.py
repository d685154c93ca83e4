"""PTX of warpgroups: wgmma (PTX ISA 9.7.15)."""

import re
from collections.abc import Sequence

from tuner.builders.emulator.ptx.names import PTX, Unknown, Writer, nothing_left, take
from tuner.builders.emulator.ptx.ptx_text import vector_parts

_EMULATOR = "cuda_emulator::"
# What is multiplied, by its type: bytes of an element, what it adds up to.
_FACTORS = {
    ".f16": ("MMA_F16", 2, ".f32"), ".bf16": ("MMA_BF16", 2, ".f32"), ".tf32": ("MMA_TF32", 4, ".f32"),
    ".e4m3": ("MMA_E4M3", 1, ".f32"), ".e5m2": ("MMA_E5M2", 1, ".f32"), ".s8": ("MMA_S8", 1, ".s32"),
    ".u8": ("MMA_U8", 1, ".s32"),
}  # fmt: skip
_SUMS = {".f32": "MMA_F32", ".s32": "MMA_S32"}


def _wgmma(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if not take(modifiers, ".sync") or not take(modifiers, ".aligned"):
        raise Unknown(": it has .sync.aligned")
    word = take(modifiers, ".fence", ".commit_group", ".wait_group", ".mma_async")
    if word == ".mma_async":
        return _mma_async(writer, modifiers, operands)
    nothing_left(modifiers)
    if word == ".wait_group":
        return f"{_EMULATOR}cuda_emu_wgmma_wait({writer.get('b32', operands[0])});"
    calls = {".fence": "fence", ".commit_group": "commit"}
    return f"{_EMULATOR}cuda_emu_wgmma_{calls[word]}();"


def _mma_async(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """`{sums}, a, b, scale_d`, then for floats signs of a and b, then for 16 bits what is transposed."""
    saturate = bool(take(modifiers, ".satfinite"))
    if len(modifiers) != 4:
        raise Unknown
    shape, d, a, b = modifiers
    n = _columns(shape, d, a, b)
    kind, size, _ = _FACTORS[a]
    sums = vector_parts(operands[0])
    if len(sums) != n // 2:
        raise Unknown(f" with {len(sums)} registers for the sums, which are {n // 2}")
    places = [writer.name(s) for s in sums]
    if not all(place.startswith("(") for place in places):
        raise Unknown(': its sums are operands "+f" or "+r" of the asm statement')
    signs = [f"int({writer.get('s32', o)})" for o in operands[4:6]] if d == ".f32" else ["1", "1"]
    flags = [f"({writer.get('b32', o)}) != 0" for o in operands[6:]] if size == 2 else []
    lines = [f"void* const cuda_emu_d[{len(places)}] = {{{', '.join('&' + p for p in places)}}};"]
    registers = vector_parts(operands[1]) if operands[1].startswith("{") else []
    if registers:
        values = ", ".join(writer.get("b32", r) for r in registers)
        lines.append(f"const {PTX}b32 cuda_emu_a[4] = {{{values}}};")
        flags = ["false", *flags]
    outer_a, outer_b = flags or ["false", "false"]
    lines += [
        f"static constexpr {_EMULATOR}WgmmaShape cuda_emu_shape{{{n}, {size}, {_EMULATOR}{kind}, "
        f"{_EMULATOR}{_FACTORS[b][0]}, {_EMULATOR}{_SUMS[d]}, {str(saturate).lower()}}};",
        f"const {_EMULATOR}WgmmaCall cuda_emu_call{{cuda_emu_d, {len(places)}, "
        f"{'0' if registers else writer.get('b64', operands[1])}, {writer.get('b64', operands[2])}, "
        f"{'cuda_emu_a' if registers else 'nullptr'}, {writer.predicate(operands[3])}, {', '.join(signs)}, "
        f"{outer_a}, {outer_b}, &cuda_emu_shape}};",
        f"{_EMULATOR}cuda_emu_wgmma(&cuda_emu_call);",
    ]
    return " ".join(lines)


def _columns(shape: str, d: str, a: str, b: str) -> int:
    """n of a shape that there is for these types."""
    found = re.fullmatch(r"\.m64n(\d+)k(\d+)", shape)
    if found is None or a not in _FACTORS or b not in _FACTORS:
        raise Unknown(f": {shape} of {a} and {b} is none the emulator has")
    n, k = int(found[1]), int(found[2])
    _, size, sums = _FACTORS[a]
    if not 8 <= n <= 256 or n % 8 or k * size != 32 or size != _FACTORS[b][1]:
        raise Unknown(f": {shape} of {a} and {b} is none the emulator has")
    if d != sums:
        raise Unknown(f": {a} and {b} add up to {sums} in the emulator, not to {d}")
    return n


WARPGROUP = {"wgmma": _wgmma}
