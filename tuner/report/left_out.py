"""Who took no part, in lines: kernels with one reason in one line, and no reason twice."""

from collections.abc import Mapping, Sequence

_PREFIX = "left out: "


def skipped_lines(skipped: Mapping[str, str]) -> list[str]:
    """`left out: mkl, mkl_packed: libmkl_rt.so is not installed`: a line for each reason, in order.

    Args:
        skipped: the reason of each kernel; without one it took part.
    """
    of: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        if reason:
            of.setdefault(reason, []).append(name)
    return [f"{_PREFIX}{', '.join(names)}: {reason}" for reason, names in of.items()]


def once(notes: Sequence[str], said: set[str]) -> list[str]:
    """Notes of one workload among several: whose reason was printed before is only named, in one line.

    Args:
        notes: of the workload.
        said: the notes printed before; those of this workload are added.
    """
    known = [note for note in notes if note in said and note.startswith(_PREFIX)]
    said.update(notes)
    names = ", ".join(note.removeprefix(_PREFIX).partition(": ")[0] for note in known)
    above = [f"left out for the reasons above: {names}"] if known else []
    return [*above, *(note for note in notes if note not in known)]
