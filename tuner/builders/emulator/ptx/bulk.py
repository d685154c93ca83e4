"""PTX of the copy engine: mbarrier, boxes of tensors; setmaxnreg (PTX ISA 9.7.13.15, 9.7.9.27).

Not there, and naming themselves: stores of boxes, other modes of loads than `.tile` and `.im2col`,
`mbarrier.arrive` that gives a state, copies without a tensor map.
"""

from collections.abc import Sequence

from tuner.builders.emulator.ptx.data import DATA
from tuner.builders.emulator.ptx.names import Unknown, Writer, nothing_left, take
from tuner.builders.emulator.ptx.ptx_text import vector_parts

_EMULATOR = "cuda_emulator::"


def _mbarrier(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    word = take(modifiers, ".init", ".arrive", ".try_wait", ".test_wait", ".inval")
    take(modifiers, ".shared", ".shared::cta", ".shared::cluster")
    take(modifiers, ".b64")
    if word == ".init":
        nothing_left(modifiers)
        arrivals = writer.get("b32", operands[1])
        return f"{_EMULATOR}cuda_emu_mbarrier_init({writer.window(operands[0])}, {arrivals});"
    take(modifiers, ".release", ".acquire", ".relaxed")
    take(modifiers, ".cta", ".cluster")
    if word == ".inval":
        nothing_left(modifiers)
        return ";"
    if word == ".arrive":
        return _arrive(writer, modifiers, operands)
    if not word or not take(modifiers, ".parity"):
        raise Unknown(": the emulator has waits for a parity")
    nothing_left(modifiers)
    place, parity = writer.window(operands[1]), writer.get("b32", operands[2])
    return f"{writer.name(operands[0])} = {_EMULATOR}cuda_emu_mbarrier_wait({place}, {parity});"


def _arrive(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """`_, [barrier]`, then how many arrivals, or with `.expect_tx` how many bytes the phase waits for."""
    expects = bool(take(modifiers, ".expect_tx"))
    nothing_left(modifiers)
    if operands[0] != "_":
        raise Unknown(": the emulator has arrivals that give no state: _ in its place")
    more = writer.get("b32", operands[2]) if len(operands) > 2 else None
    if expects and more is None:
        raise Unknown(": .expect_tx has a number of bytes")
    count, tx_bytes = ("1u", more) if expects else (more or "1u", "0u")
    return f"{_EMULATOR}cuda_emu_mbarrier_arrive({writer.window(operands[1])}, {count}, {tx_bytes});"


def _cp(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """cp.async.bulk.tensor from global memory; what is not `.bulk` is as `DATA` has it."""
    if ".bulk" not in modifiers:
        return DATA["cp"](writer, modifiers, operands)
    take(modifiers, ".async")
    take(modifiers, ".bulk")
    if not take(modifiers, ".tensor"):
        raise Unknown(": the emulator has copies of boxes of a tensor map")
    rank = int((take(modifiers, ".1d", ".2d", ".3d", ".4d", ".5d") or ".0d")[1])
    windows = take(modifiers, ".tile", ".im2col") == ".im2col"
    to, source = take(modifiers, ".shared::cluster", ".shared::cta"), take(modifiers, ".global")
    counted = take(modifiers, ".mbarrier::complete_tx::bytes")
    several = bool(take(modifiers, ".multicast::cluster"))
    hinted = bool(take(modifiers, ".L2::cache_hint"))
    nothing_left(modifiers)
    tensor, _, coordinates = operands[1].strip("[] ").partition(",")
    places = vector_parts(coordinates.strip())
    if not (rank and to and source and counted) or len(places) != rank or (windows and rank < 3):
        raise Unknown
    if len(operands) != 3 + windows + several + hinted:
        raise Unknown(f" with {len(operands)} operands")
    numbers = ", ".join(f"int({writer.get('s32', place)})" for place in places)
    declared, tap = f"const int cuda_emu_at[{rank}] = {{{numbers}}};", "nullptr"
    if windows:
        offsets = vector_parts(operands[3].strip())
        if len(offsets) != rank - 2:
            raise Unknown(f" with {len(offsets)} offsets")
        numbers = ", ".join(f"int({writer.get('u16', offset)})" for offset in offsets)
        declared, tap = f"{declared} const int cuda_emu_tap[{rank - 2}] = {{{numbers}}};", "cuda_emu_tap"
    ranks = f"int({writer.get('b16', operands[3 + windows])})" if several else "-1"
    return (
        f"{declared} {_EMULATOR}cuda_emu_bulk_tensor({writer.window(operands[0])}, "
        f"{writer.address(f'[{tensor.strip()}]', 'generic')}, cuda_emu_at, {rank}, {tap}, "
        f"{writer.window(operands[2])}, {ranks});"
    )


def _setmaxnreg(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """No register is counted here; the number has to be one that there is."""
    if not take(modifiers, ".inc", ".dec") or not take(modifiers, ".sync") or not take(modifiers, ".aligned"):
        raise Unknown
    take(modifiers, ".u32")
    nothing_left(modifiers)
    number = writer.get("b32", operands[0])
    return f"if ({number} % 8 || {number} < 24 || {number} > 256) {_EMULATOR}cuda_emu_trap();"


BULK = {"mbarrier": _mbarrier, "cp": _cp, "setmaxnreg": _setmaxnreg}
