"""PTX arithmetic, logic and conversions (PTX ISA 9.7.1 to 9.7.8, cvt)."""

import re
from collections.abc import Callable, Sequence

from tuner.builders.emulator.ptx.names import PTX, TYPES, Unknown, Writer, cxx_type, nothing_left, take
from tuner.builders.emulator.ptx.ptx_text import vector_parts

_IGNORED = (".rn", ".ftz", ".approx", ".full", ".lo")  # a host's arithmetic is the nearest there is to them
_MODES = {".rn": "RN", ".rz": "RZ", ".rm": "RM", ".rp": "RP",
          ".rni": "RN", ".rzi": "RZ", ".rmi": "RM", ".rpi": "RP"}  # fmt: skip
_PACKED_FLOATS = {".f16x2": ".f16", ".bf16x2": ".bf16"}


def _type_of(modifiers: list[str]) -> str:
    if not modifiers or modifiers[-1].lstrip(".") not in TYPES:
        raise Unknown
    return modifiers.pop()


def _plain(
    expression: str, sources: Sequence[str] = (), only: str = r"\.[busf].*"
) -> Callable[[Writer, list[str], Sequence[str]], str]:
    """An instruction `name.type d, a, b, c` of one type.

    Args:
        expression: in C++, with {a}, {b}, {c} for the sources and {T} for the type.
        sources: types of sources where they differ from the instruction's, `T` for the same.
        only: which types it has, as a regular expression.
    """

    def emit(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
        kind = _type_of(modifiers)
        left = [m for m in modifiers if m not in _IGNORED]
        relu, saturate = take(left, ".relu"), take(left, ".sat")
        nothing_left(left)
        if not re.fullmatch(only, kind):
            raise Unknown(f" of type {kind}")
        kinds = [kind if s == "T" else s for s in (*sources, *["T"] * 4)]
        values = {letter: writer.get(k, o) for letter, k, o in zip("abcd", kinds, operands[1:], strict=False)}
        value = expression.format(T=cxx_type(kind), **values)
        if not value.startswith(PTX):
            value = f"{cxx_type(kind)}({value})"
        if relu:
            value = f"{PTX}{'relu2' if kind in _PACKED_FLOATS else 'relu'}({value})"
        if saturate:
            value = f"cuda_emulator::saturate({value})"
        return writer.put(operands[0], value)

    return emit


def _mul(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if take(modifiers, ".wide"):
        return _wide(writer, modifiers, operands)
    if take(modifiers, ".hi"):
        return _plain(PTX + "mul_hi({a}, {b})")(writer, modifiers, operands)
    return _plain("{a} * {b}")(writer, modifiers, operands)


def _wide(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    kind = _type_of(modifiers)
    nothing_left(modifiers)
    double = f".{kind[1]}{2 * int(kind[2:])}"
    a, b = (f"{cxx_type(double)}({writer.get(kind, o)})" for o in operands[1:3])
    sum_ = f" + {writer.get(double, operands[3])}" if len(operands) > 3 else ""
    return writer.put(operands[0], f"{cxx_type(double)}({a} * {b}{sum_})")


def _mad(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if take(modifiers, ".wide"):
        return _wide(writer, modifiers, operands)
    if modifiers[-1] in (".f32", ".f64"):
        return _plain(PTX + "fma({a}, {b}, {c})")(writer, modifiers, operands)
    if take(modifiers, ".hi"):
        return _plain(PTX + "mul_hi({a}, {b}) + {c}")(writer, modifiers, operands)
    return _plain("{a} * {b} + {c}")(writer, modifiers, operands)


def _prmt(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    take(modifiers, ".b32")
    mode = take(modifiers, ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16")
    nothing_left(modifiers)
    a, b, c = (writer.get("b32", o) for o in operands[1:4])
    value = f'{PTX}prmt_mode({a}, {b}, {c}, "{mode[1:]}")' if mode else f"__byte_perm({a}, {b}, {c})"
    return writer.put(operands[0], value)


def _setp(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    kind = _type_of(modifiers)
    take(modifiers, ".ftz")
    compare = {".eq": "==", ".ne": "!=", ".lt": "<", ".le": "<=", ".gt": ">", ".ge": ">=",
               ".lo": "<", ".ls": "<=", ".hi": ">", ".hs": ">=", ".neu": "!="}  # fmt: skip
    word = take(modifiers, *compare)
    combined = take(modifiers, ".and", ".or", ".xor")
    nothing_left(modifiers)
    if not word:
        raise Unknown
    value = f"({writer.get(kind, operands[1])} {compare[word]} {writer.get(kind, operands[2])})"
    targets = [name.strip() for name in operands[0].split("|")]
    values = [value, f"!{value}"]
    if combined:
        other = writer.predicate(operands[3])
        op = {".and": "&&", ".or": "||", ".xor": "!="}[combined]
        values = [f"({v} {op} {other})" for v in values]
    return " ".join(f"{writer.name(t)} = {v};" for t, v in zip(targets, values, strict=False) if t != "_")


def _selp(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    kind = _type_of(modifiers)
    nothing_left(modifiers)
    a, b = (writer.get(kind, o) for o in operands[1:3])
    return writer.put(operands[0], f"({writer.predicate(operands[3])} ? {a} : {b})")


def _logic(op: str) -> Callable[[Writer, list[str], Sequence[str]], str]:
    def emit(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
        if modifiers == [".pred"]:
            a, *b = (writer.predicate(o) for o in operands[1:])
            value = f"!{a}" if op == "~" else f"({a} {op} {b[0]}) != 0"
            return f"{writer.name(operands[0])} = {value};"
        return _plain("~{a}" if op == "~" else f"{{a}} {op} {{b}}")(writer, modifiers, operands)

    return emit


def _mov(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if modifiers == [".pred"]:
        return f"{writer.name(operands[0])} = {writer.predicate(operands[1])};"
    kind = _type_of(modifiers)
    nothing_left(modifiers)
    to, source = (vector_parts(o) for o in operands[:2])
    if len(to) == len(source) == 1:
        return writer.put(operands[0], writer.get(kind, operands[1]))
    # Packing and unpacking: the first of a vector is the lowest part (9.7.9.3, mov).
    width = int(re.sub(r"\D", "", kind))
    if len(to) == 1:
        part = width // len(source)
        terms = [f"({PTX}b64({writer.get(f'b{part}', s)}) << {part * i})" for i, s in enumerate(source)]
        return writer.put(to[0], f"{PTX}get<{PTX}b{width}>({' | '.join(terms)})")
    part = width // len(to)
    whole = f"const {PTX}b64 cuda_emu_whole = {writer.get(f'b{width}', source[0])};"
    parts = [writer.put(t, f"{PTX}b{part}(cuda_emu_whole >> {part * i})") for i, t in enumerate(to)]
    return " ".join([whole, *parts])


def _cvt(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    take(modifiers, ".ftz")
    relu = take(modifiers, ".relu")
    finite = take(modifiers, ".satfinite")
    saturate = take(modifiers, ".sat")
    if modifiers[:1] == [".rna"] and modifiers[1:] == [".tf32", ".f32"]:
        return writer.put(operands[0], f"{PTX}to_tf32({writer.get('f32', operands[1])})")
    rounding = take(modifiers, *_MODES)
    if len(modifiers) != 2:
        raise Unknown
    to, source = modifiers
    if to in (".e4m3x2", ".e5m2x2") or source in (".e4m3x2", ".e5m2x2"):
        return _cvt_fp8(writer, to, source, operands)
    if to in _PACKED_FLOATS:
        half = cxx_type(_PACKED_FLOATS[to])
        convert = f"{PTX}convert<{half}, {PTX}{_MODES.get(rounding, 'RN')}, false>"
        high, low = (f"{convert}({writer.get(source, o)})" for o in operands[1:3])
        value = f"{PTX}pack2<{cxx_type(to)}>({high}, {low})"
        return writer.put(operands[0], f"{PTX}relu2({value})" if relu else value)
    given = writer.get(source, operands[1])
    if saturate and to[1] in "us" and source[1] in "us":
        return writer.put(operands[0], f"{PTX}clamp_integer<{cxx_type(to)}>({given})")
    whole = str(rounding.endswith("i")).lower()
    value = f"{PTX}convert<{cxx_type(to)}, {PTX}{_MODES.get(rounding, 'RN')}, {whole}>({given})"
    if saturate and to[1] not in "us":
        value = f"cuda_emulator::saturate({value})"
    del finite  # f32 to tf32, f16, bf16 with .satfinite differ for infinities only
    return writer.put(operands[0], f"{PTX}relu({value})" if relu else value)


def _cvt_fp8(writer: Writer, to: str, source: str, operands: Sequence[str]) -> str:
    formats = {".e4m3x2": "cuda_emulator::E4m3", ".e5m2x2": "cuda_emulator::E5m2"}
    if to in formats and source == ".f32":
        high, low = (f"{formats[to]}::round({writer.get('f32', o)})" for o in operands[1:3])
    elif to in formats and source == ".f16x2":
        pair = writer.get("f16x2", operands[1])
        high, low = (f"{formats[to]}::round(float({pair}.{x}))" for x in "yx")
    elif source in formats and to == ".f16x2":
        bits = writer.get("b16", operands[1])
        high, low = (f"{PTX}f16({formats[source]}::widen((unsigned char)({bits} >> {s})))" for s in (8, 0))
        return writer.put(operands[0], f"{PTX}pack2<{PTX}f16x2>({high}, {low})")
    else:
        raise Unknown
    return writer.put(operands[0], f"{PTX}b16({high} << 8 | {low})")


ARITHMETIC = {
    "add": _plain("{a} + {b}"), "sub": _plain("{a} - {b}"), "mul": _mul, "mad": _mad,
    "fma": _plain(PTX + "fma({a}, {b}, {c})", only=r"\.b?f.*"),
    "div": _plain("{a} / {b}", only=r"\.[usf].*"), "rem": _plain("{a} % {b}", only=r"\.[us]\d+"),
    "neg": _plain("-{a}"), "abs": _plain(PTX + "magnitude({a})"),
    "min": _plain(PTX + "least({a}, {b})"), "max": _plain(PTX + "most({a}, {b})"),
    "and": _logic("&"), "or": _logic("|"), "xor": _logic("^"), "not": _logic("~"),
    "shl": _plain(PTX + "shl({a}, {b})", ("T", "b32")), "shr": _plain(PTX + "shr({a}, {b})", ("T", "b32")),
    "bfe": _plain(PTX + "bfe({a}, {b}, {c})", ("T", "b32", "b32")),
    "bfi": _plain(PTX + "bfi({a}, {b}, {c}, {d})", ("T", "T", "b32", "b32"), only=r"\.b\d+"),
    "lop3": _plain(PTX + "lop3({a}, {b}, {c}, {d})", only=r"\.b32"), "prmt": _prmt,
    "popc": _plain("__popc({a})", only=r"\.b32"), "clz": _plain("__clz(int({a}))", only=r"\.b32"),
    "brev": _plain("__brev({a})", only=r"\.b32"), "bfind": _plain(PTX + "bfind({a})", only=r"\.u32"),
    "ex2": _plain(PTX + "ex2({a})", only=r"\.b?f(32|16|16x2)"),
    "tanh": _plain(PTX + "tanh_approx({a})", only=r"\.b?f(32|16|16x2)"),
    "lg2": _plain("::log2f({a})", only=r"\.f32"), "sin": _plain("::sinf({a})", only=r"\.f32"),
    "cos": _plain("::cosf({a})", only=r"\.f32"), "rcp": _plain(PTX + "reciprocal({a})", only=r"\.f(32|64)"),
    "sqrt": _plain(PTX + "root({a})", only=r"\.f(32|64)"),
    "rsqrt": _plain(PTX + "inverse_root({a})", only=r"\.f32"),
    "dp4a": lambda writer, modifiers, operands: _dp4a(writer, modifiers, operands),
    "shf": lambda writer, modifiers, operands: _shf(writer, modifiers, operands),
    "setp": _setp, "selp": _selp, "mov": _mov, "cvt": _cvt,
}  # fmt: skip


def _dp4a(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    kinds = {".u32": "unsigned char", ".s32": "signed char"}
    if len(modifiers) != 2 or not set(modifiers) <= kinds.keys():
        raise Unknown
    a, b, c = (writer.get("b32", o) for o in operands[1:4])
    types = ", ".join(kinds[m] for m in modifiers)
    return writer.put(operands[0], f"{PTX}b32(cuda_emulator::dot4<{types}>({a}, {b}, int({c})))")


def _shf(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    way = take(modifiers, ".l", ".r")
    if modifiers != [".wrap", ".b32"]:
        raise Unknown
    a, b, c = (writer.get("b32", o) for o in operands[1:4])
    return writer.put(operands[0], f"__funnelshift_{way[1:]}({a}, {b}, {c})")
