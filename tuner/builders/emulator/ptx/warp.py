"""PTX that threads do together: matrices, shuffles, votes, barriers (PTX ISA 9.7.13, 9.7.14)."""

import re
from collections.abc import Sequence

from tuner.builders.emulator.ptx.names import PTX, Unknown, Writer, nothing_left, take
from tuner.builders.emulator.ptx.ptx_text import vector_parts

_EMULATOR = "cuda_emulator::"

_FLOATS = {
    ".f16": "MMA_F16", ".bf16": "MMA_BF16", ".tf32": "MMA_TF32", ".e4m3": "MMA_E4M3", ".e5m2": "MMA_E5M2",
}  # fmt: skip
_INTEGERS = {".s8": "MMA_S8", ".u8": "MMA_U8", ".s4": "MMA_S4", ".u4": "MMA_U4"}
_MMA_TYPES = {**_FLOATS, **_INTEGERS, ".f64": "MMA_F64", ".f32": "MMA_F32", ".s32": "MMA_S32"}
_BITS = {".f16": 16, ".bf16": 16, ".tf32": 32, ".e4m3": 8, ".e5m2": 8, ".s8": 8, ".u8": 8, ".s4": 4, ".u4": 4,
         ".f64": 64, ".f32": 32, ".s32": 32}  # fmt: skip
_FACTORS = {*_FLOATS, *_INTEGERS, ".f64"}
# m, n, k by the width of a factor's elements; 9.7.14, "Matrix Shape" (m8n8k4 of f16 is another layout).
MMA_SHAPES = {
    16: [(16, 8, 8), (16, 8, 16)], 32: [(16, 8, 4), (16, 8, 8)],
    8: [(8, 8, 16), (16, 8, 16), (16, 8, 32)], 4: [(8, 8, 32), (16, 8, 32), (16, 8, 64)],
    64: [(8, 8, 4), (16, 8, 4), (16, 8, 8), (16, 8, 16)],
}  # fmt: skip


def _matrix(writer: Writer, modifiers: list[str], operands: Sequence[str], load: bool) -> str:
    if not take(modifiers, ".sync") or not take(modifiers, ".aligned"):
        raise Unknown(": it has .sync.aligned")
    count = int(take(modifiers, ".x1", ".x2", ".x4")[2:] or 0)
    transposed = int(bool(take(modifiers, ".trans")))
    take(modifiers, ".shared", ".shared::cta")
    if sorted(modifiers) != [".b16", ".m8n8"] or not count:
        raise Unknown(": .m8n8 with .x1, .x2 or .x4 of .b16 are")
    vector, address = operands if load else operands[::-1]
    registers = vector_parts(vector)
    if len(registers) != count:
        raise Unknown(f" with {len(registers)} registers for .x{count}")
    row = writer.window(address)
    if load:
        call = f"{_EMULATOR}cuda_emu_ldmatrix(cuda_emu_m, {count}, {transposed}, {row});"
        puts = [writer.put(r, f"cuda_emu_m[{i}]") for i, r in enumerate(registers)]
        return " ".join([f"{PTX}b32 cuda_emu_m[{count}];", call, *puts])
    values = ", ".join(writer.get("b32", r) for r in registers)
    return (f"const {PTX}b32 cuda_emu_m[{count}] = {{{values}}}; "
            f"{_EMULATOR}cuda_emu_stmatrix(cuda_emu_m, {count}, {transposed}, {row});")  # fmt: skip


def _ldmatrix(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return _matrix(writer, modifiers, operands, load=True)


def _stmatrix(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return _matrix(writer, modifiers, operands, load=False)


def _mma(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    for needed in (".sync", ".aligned", ".row", ".col"):
        if not take(modifiers, needed):
            raise Unknown(": the emulator has mma.sync.aligned of .row and .col")
    saturate = bool(take(modifiers, ".satfinite"))
    take(modifiers, ".kind::f8f6f4")
    if len(modifiers) != 5:
        raise Unknown
    shape, d, a, b, c = modifiers
    m, n, k = _mma_shape(shape, d, a, b, c)
    word = 64 if a == ".f64" else 32
    register = f"{PTX}{'f64' if word == 64 else 'b32'}"
    arrays = []
    held = {"d": (d, m * n), "a": (a, m * k), "b": (b, k * n), "c": (c, m * n)}
    for (letter, (kind, elements)), operand in zip(held.items(), operands, strict=True):
        count = elements // 32 * _BITS[kind] // word
        values = vector_parts(operand)
        if len(values) != count:
            raise Unknown(f" with {len(values)} registers for {letter}, which has {count}")
        if letter != "d":
            listed = ", ".join(writer.get(register.removeprefix(PTX), v) for v in values)
            arrays.append(f"const {register} cuda_emu_{letter}[{count}] = {{{listed}}};")
    types = ", ".join(f"{_EMULATOR}{_MMA_TYPES[t]}" for t in (a, b, c, d))
    made = f"{{{m}, {n}, {k}, {types}, {str(saturate).lower()}}}"
    results = vector_parts(operands[0])
    return " ".join([
        *arrays, f"{register} cuda_emu_d[{len(results)}];",
        f"static constexpr {_EMULATOR}MmaShape cuda_emu_shape{made};",
        f"{_EMULATOR}cuda_emu_mma(cuda_emu_d, cuda_emu_a, cuda_emu_b, cuda_emu_c, &cuda_emu_shape);",
        *(writer.put(r, f"cuda_emu_d[{i}]") for i, r in enumerate(results)),
    ])  # fmt: skip


def _mma_shape(shape: str, d: str, a: str, b: str, c: str) -> tuple[int, int, int]:
    """m, n, k of a shape that there is for these types."""
    found = re.fullmatch(r"\.m(\d+)n(\d+)k(\d+)", shape)
    size = tuple(int(x) for x in found.groups()) if found else ()
    if a not in _FACTORS or size not in MMA_SHAPES[_BITS[a]] or _BITS[a] != _BITS.get(b):
        raise Unknown(f": {shape} of {a} and {b} is none the emulator has")
    integer = a in _INTEGERS
    sums = (".s32",) if integer else (".f64",) if a == ".f64" else (".f32", ".f16")
    if d not in sums or c not in sums or integer != (b in _INTEGERS):
        raise Unknown(f": {a} and {b} do not add up to {d}")
    return size[0], size[1], size[2]


def bar(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """bar and barrier; without a number of threads all of the block come."""
    take(modifiers, ".cta")
    take(modifiers, ".aligned")
    word = take(modifiers, ".sync", ".arrive")
    if take(modifiers, ".warp"):
        return f"__syncwarp({writer.get('b32', operands[0])});"
    if not word or modifiers:
        raise Unknown
    number = writer.get("b32", operands[0])
    if len(operands) > 1:
        threads = writer.get("b32", operands[1])
    elif word == ".arrive":
        raise Unknown(" without a number of threads")
    else:
        threads = "blockDim.x * blockDim.y * blockDim.z"
    return _barrier_call(number, threads, word == ".sync", len(operands) == 1)


def _barrier_call(number: str, threads: str, waits: bool, everybody: bool) -> str:
    named = f"{_EMULATOR}cuda_emu_named_barrier({number}, {threads}, {int(waits)});"
    if not waits:
        return named
    # Barrier 0 for all threads is __syncthreads.
    all_come = "" if everybody else f" && {threads} == blockDim.x * blockDim.y * blockDim.z"
    return f"if ({number} == 0{all_come}) {{ __syncthreads(); }} else {{ {named} }}"


def _shfl(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    modes = {".up": "UP_LANES", ".down": "DOWN_LANES", ".bfly": "BUTTERFLY", ".idx": "INDEX"}
    word = take(modifiers, *modes)
    if sorted(modifiers) != [".b32", ".sync"] or not word:
        raise Unknown
    target, *predicate = (name.strip() for name in operands[0].split("|"))
    a, b, clamp, mask = (writer.get("b32", o) for o in operands[1:5])
    call = f"{PTX}shuffle_lanes({PTX}{modes[word]}, {a}, {b}, {clamp}, {mask}, &cuda_emu_inside)"
    report = f" {writer.name(predicate[0])} = cuda_emu_inside;" if predicate else ""
    return f"bool cuda_emu_inside; {writer.put(target, call)}{report}"


def _vote(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    word = take(modifiers, ".ballot", ".any", ".all", ".uni")
    if not word or not take(modifiers, ".sync"):
        raise Unknown
    call = f"__{word[1:]}_sync({writer.get('b32', operands[2])}, {writer.predicate(operands[1])})"
    if word == ".ballot":
        return writer.put(operands[0], call)
    return f"{writer.name(operands[0])} = {call} != 0;"


def _redux(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    word = take(modifiers, ".add", ".min", ".max", ".and", ".or", ".xor")
    if not word or not take(modifiers, ".sync"):
        raise Unknown
    kind = modifiers.pop()
    nothing_left(modifiers)
    value = writer.get("s32" if kind == ".s32" else "b32", operands[1])
    return writer.put(operands[0], f"__reduce_{word[1:]}_sync({writer.get('b32', operands[2])}, {value})")


def _match(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    if not take(modifiers, ".any") or not take(modifiers, ".sync"):
        raise Unknown
    call = f"__match_any_sync({writer.get('b32', operands[2])}, {writer.get(modifiers[0], operands[1])})"
    return writer.put(operands[0], call)


def _activemask(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return writer.put(operands[0], "__activemask()")


def _elect(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """The lowest lane of the mask is elected; any would do."""
    target, _, predicate = operands[0].partition("|")
    mask = writer.get("b32", operands[1])
    first = f"({PTX}b32(__ffs(int({mask}))) - 1)"
    elected = f"{writer.name(predicate)} = {_EMULATOR}cuda_emu_lane() == {first};"
    return f"{writer.put(target.strip(), first)} {elected}"


def _bra(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    take(modifiers, ".uni")
    nothing_left(modifiers)
    return f"{_EMULATOR}cuda_emu_spin(); goto {writer.label(operands[0])};"


def _trap(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return "__trap();"


def _nanosleep(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    return "__nanosleep(0);"


WARP = {
    "ldmatrix": _ldmatrix, "stmatrix": _stmatrix, "mma": _mma, "bar": bar, "shfl": _shfl,
    "vote": _vote, "redux": _redux, "match": _match, "activemask": _activemask, "elect": _elect, "bra": _bra,
    "trap": _trap, "nanosleep": _nanosleep,
}  # fmt: skip
