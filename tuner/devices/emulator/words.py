"""Records of the emulator's sanitizers in words."""

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tuner.devices.emulator.findings import (
    KINDS,
    CodePlace,
    Finding,
    LaunchContext,
    SanitizerRecord,
    nobody,
    place_of,
    resolve,
)

_WRITE, _ATOMIC, _ASYNC = 1, 2, 4
_ABSENT_LANE = 3  # `extra2` of a divergence: see cuda_emu_absent_lane in the emulator
Chains = Mapping[int, tuple[tuple[str, int], ...]]


def describe(context: LaunchContext, records: Sequence[SanitizerRecord]) -> list[Finding]:
    """Findings of records: resolved, put into words, and merged by kind and line."""
    chains = resolve(context, [r.pc for r in records] + [r.pc2 for r in records])
    merged: dict[tuple[str, str, int, str, int], Finding] = {}
    for record in records:
        try:
            finding = _word(context, record, chains)
        except (IndexError, KeyError, ValueError):
            # The kernel wrote over the log: that something was found there is still so.
            text = "the sanitizer's record of this was overwritten"
            finding = Finding(KINDS[record.kind], context.kernel, text, CodePlace(context.kernel, 0))
        if finding is None:
            continue
        other = finding.other or CodePlace("", 0)
        key = (finding.kind, finding.place.file, finding.place.line, other.file, other.line)
        if finding.kind.startswith("race"):  # the two sides of a race are one defect, whoever came first
            sides = sorted([key[1:3], key[3:]])
            key = (finding.kind, *sides[0], *sides[1])
        known = merged.get(key)
        merged[key] = replace(known, count=known.count + finding.count) if known else finding
    return list(merged.values())


def _word(context: LaunchContext, record: SanitizerRecord, chains: Chains) -> Finding | None:
    """One record as a finding; `None` where the places show that it is none."""
    kind = KINDS[record.kind]
    place = place_of(context, chains, record.pc, record.thread)
    other = None
    if kind in ("race_shared", "race_global"):
        other = place_of(context, chains, record.pc2, record.thread2)
        message = _race(context, record, kind, other)
    elif kind == "barrier_divergence":
        if record.pc2 and chains.get(record.pc) and chains.get(record.pc) == chains.get(record.pc2):
            return None  # copies of one call, made by the compiler
        other, message = _barrier(context, record, chains)
    elif kind in ("warp_divergence", "deadlock"):
        if record.extra2 == _ABSENT_LANE and context.generated:
            # TVM's reductions shuffle by powers of two whatever the mask, and do not use what comes from
            # beyond it. The emulator answers with all bits set there, so a use would be a wrong result.
            return None
        if not nobody(record.thread2):
            other = place_of(context, chains, record.pc2, record.thread2)
        message = _stuck(record, kind, other)
    elif kind == "out_of_bounds_local":
        name = _indexed_name(context, record)
        if name and any(v["name"] == name for v in context.variables):
            return None  # of a shared array the address counts: rows of it may be run across on purpose
        declared = record.text.decode().strip("'")
        message = f"index {record.offset} of {name or 'an array'} of type {declared}"
    elif kind == "misaligned":
        what = record.text.decode().strip("'")
        if what.startswith("rows"):
            what = f"{what} {record.address} bytes apart, which is no multiple of {record.extra}"
            return Finding(kind, context.kernel, what, place, None, record.count)
        message = f"{what} at address {record.address:#x}, which is no multiple of {record.extra} bytes"
    elif kind == "crash":
        name = signal.Signals(record.extra).name
        message = f"the kernel died of {name} at address {record.address:#x}"
    elif kind == "trap":
        failed = record.text.decode(errors="replace")
        own = failed.startswith("cluster: ")
        message = failed if own else f"assertion failed: {failed}" if failed else "the kernel called __trap()"
    elif kind in ("missing_fence", "not_waited_for"):
        if record.pc2:
            other = place_of(context, chains, record.pc2, record.thread2)
        message = _product(record, kind, other)
    else:
        message = _memory(context, record, kind)
    return Finding(kind, context.kernel, message, place, other, record.count)


def _access(flags: int, size: int = 0) -> str:
    name = "write" if flags & _WRITE else "read"
    if flags & _ASYNC:
        name = "asynchronous copy"
    elif flags & _ATOMIC:
        name = f"atomic {name}"
    return f"{name} of {size} bytes" if size else name


def _thing(context: LaunchContext, record: SanitizerRecord, kind: str) -> str:
    if record.object < 0:
        return f"address {record.address:#x}"
    if kind.endswith("global"):
        tensor = context.tensors[record.object]
        return f"{tensor.name}[{record.offset // tensor.granule}]"
    name = context.variables[record.object]["name"]
    return f"shared {name} at byte {record.offset}"


def _memory(context: LaunchContext, record: SanitizerRecord, kind: str) -> str:
    access = _access(record.access, record.size)
    if record.text:
        return f"{access} in {record.text.decode(errors='replace')}"
    if kind == "uninitialized_shared":
        return f"{access} in {_thing(context, record, kind)}, which no thread of the block has written"
    if kind == "uninitialized_global":
        return f"{access} at {_thing(context, record, kind)}, which was never written"
    if record.object < 0:
        null = record.address < 4096
        where = "a null pointer (an absent tensor)" if null else f"address {record.address:#x}"
        return f"{access} at {where}, far from every tensor; the kernel was stopped here"
    if kind == "out_of_bounds_shared":
        variable = context.variables[record.object]
        where = _outside(record, variable["size"])
        return f"{access} {where} shared {variable['name']} ({variable['size']} bytes)"
    tensor = context.tensors[record.object]
    elements = tensor.bytes // tensor.granule
    where = _outside(record, tensor.bytes)
    return f"{access} {where} tensor {tensor.name} ({elements} elements, {tensor.bytes} bytes)"


def _outside(record: SanitizerRecord, size: int) -> str:
    if record.offset < 0:
        return f"{-record.offset} bytes before the beginning of"
    past = record.offset - size
    if past >= 0:
        return f"{past} bytes past the end of"
    return f"{past + record.size} bytes across the end of"


def _race(context: LaunchContext, record: SanitizerRecord, kind: str, other: CodePlace) -> str:
    thing = _thing(context, record, kind)
    first, second = _access(record.access2), _access(record.access)
    if record.access2 & _ASYNC:
        return f"{second} of {thing} while the asynchronous copy at {other} has not been waited for"
    between = "no barrier" if kind == "race_shared" else "nothing"
    return f"{second} of {thing} after a {first} at {other}, with {between} between them"


def _barrier(context: LaunchContext, record: SanitizerRecord, chains: Chains) -> tuple[CodePlace | None, str]:
    if record.pc2:
        other = place_of(context, chains, record.pc2, record.thread2)
        return other, f"threads of one block meet at different barriers: another one is at {other}"
    if record.text:
        return None, record.text.decode(errors="replace")
    text = f"only {record.extra} of {record.extra2} threads of the block came to this barrier"
    if nobody(record.thread2):
        return None, text
    gone = place_of(context, chains, 0, record.thread2)
    return None, f"{text}: thread {gone.thread} has exited"


def _stuck(record: SanitizerRecord, kind: str, other: CodePlace | None) -> str:
    elsewhere = f"; another thread is at {other}" if other else ""
    if kind == "deadlock":
        return f"no thread can go on: this one waits for ever{elsewhere}"
    if record.extra2 == _ABSENT_LANE:
        return (
            f"the shuffle asks lane {record.offset}, which takes no part in it (mask {record.extra:#010x}): "
            "what it gets is undefined"
        )
    if record.text:
        return str(record.text.decode(errors="replace"))
    if record.extra2 == 2:
        return f"the calling lane is not in its own mask {record.extra:#010x}"
    if record.extra2 == 1:
        return f"lanes of mask {record.extra:#010x} never come to this warp operation{elsewhere}"
    return f"a tensor-core operation of a part of a warp (lanes {record.extra:#010x})"


def _product(record: SanitizerRecord, kind: str, other: CodePlace | None) -> str:
    """What is wrong with a product of a warpgroup (wgmma), or with what it reads."""
    text, there = record.text.decode(errors="replace"), f" at {other}" if other else ""
    if kind == "not_waited_for":
        return f"{text}{there} while nobody has waited for it (wgmma.wait_group)"
    if text:
        return f"no {text} between what was done to the sums and this product"
    return f"what was written{there} is read by tensor cores, with no fence.proxy.async between them"


def _indexed_name(context: LaunchContext, record: SanitizerRecord) -> str | None:
    """The array that is indexed at the column the compiler gives, from the text of the line."""
    lines = _lines_of(context.source, record.file.decode())
    if not 0 < record.line <= len(lines):
        return None
    text = lines[record.line - 1][: max(record.column, 1)]
    while text.endswith("]") or text.endswith("["):  # back over the subscripts
        depth, i = 0, len(text) - 1
        if text.endswith("["):
            text = text[:-1]
            continue
        while i >= 0:
            depth += {"]": 1, "[": -1}.get(text[i], 0)
            if depth == 0:
                break
            i -= 1
        text = text[:i].rstrip()
    match = re.search(r"([A-Za-z_]\w*)\s*$", text)
    return match[1] if match else None


def _lines_of(source: str, file: str) -> list[str]:
    """The lines of a file named by a #line directive within the text that was compiled."""
    marker = f'#line 1 "{file.rsplit("/", 1)[-1]}"\n'
    start = source.find(marker)
    return source[start + len(marker) if start >= 0 else 0 :].split("\n")
