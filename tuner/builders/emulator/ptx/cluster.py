"""PTX of clusters: shared memory of the other blocks, the barrier in two halves (PTX ISA 9.7.9, 9.7.13).

Not there, and naming themselves: `st.async` and `red.async`. Barriers and copies of blocks: `bulk`.
"""

from collections.abc import Sequence

from tuner.builders.emulator.ptx.names import PTX, Unknown, Writer, cxx_type, nothing_left, take
from tuner.builders.emulator.ptx.warp import bar

_EMULATOR = "cuda_emulator::"


def _address(modifiers: list[str]) -> tuple[bool, str]:
    """Removes the space and the type: whether addresses are in the window, and the C++ type."""
    window = bool(take(modifiers, ".shared::cluster"))
    name = take(modifiers, ".u32", ".u64")
    nothing_left(modifiers)
    if not name:
        raise Unknown
    return window, cxx_type(name)


def _mapa(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """mapa d, a, rank: what lies at the place of `a` in the shared memory of another block of the cluster."""
    window, kind = _address(modifiers)
    rank = writer.get("b32", operands[2])
    where = f"{PTX}{'shared' if window else 'generic'}({writer.name(operands[1])}, 0)"
    if window:
        value = f"{_EMULATOR}cuda_emu_cluster_address({_EMULATOR}cuda_emu_map_shared({where}, {rank}))"
    else:
        value = f"{PTX}b64({_EMULATOR}cuda_emu_map_shared({where}, {rank}))"
    return writer.put(operands[0], f"{kind}({value})")


def _getctarank(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """getctarank d, a: whose shared memory an address lies in."""
    window, _ = _address(modifiers)
    where = f"{PTX}{'cluster' if window else 'generic'}({writer.name(operands[1])}, 0)"
    return writer.put(operands[0], f"{_EMULATOR}cuda_emu_cluster_rank({where})")


def _barrier(writer: Writer, modifiers: list[str], operands: Sequence[str]) -> str:
    """barrier.cluster.arrive and .wait; any other is a block's.

    `.relaxed` orders no more than what a fence before it does; here it orders everything, as `.release`.
    """
    if not take(modifiers, ".cluster"):
        return bar(writer, modifiers, operands)
    word = take(modifiers, ".arrive", ".wait")
    take(modifiers, ".aligned")
    take(modifiers, *((".release", ".relaxed") if word == ".arrive" else (".acquire",)))
    nothing_left(modifiers)
    if not word:
        raise Unknown
    return f"{_EMULATOR}cuda_emu_cluster_{word[1:]}();"


CLUSTER = {"mapa": _mapa, "getctarank": _getctarank, "barrier": _barrier}
