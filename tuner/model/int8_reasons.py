"""What speaks for int8 or for f32 in one layer: a rule from known facts, no measurement."""

from dataclasses import dataclass

from tuner.core.workload import Workload

VNNI = ("avx512vnni", "avxvnni")
"""Features of x86 targets that multiply groups of four int8 and add them up in one instruction."""
# FLOPs for each byte below which a layer waits for memory on the CPUs of today: 10 to 50 of a core's balance.
_FEW_PER_BYTE = 20.0
_SHORT_FLOPS = 2e6
_QUANTIZING = 0.2
_FEW_CHANNELS = 16


@dataclass(frozen=True)
class Facts:
    """What is known of a layer.

    Attributes:
        workload: of the float model.
        flops: of a run of it.
        f32_bytes, int8_bytes: of its tensors, once.
        vnni: whether the target multiplies groups of four int8 in one instruction.
        quantizing: share of its int8 time in which ONNX Runtime quantizes and dequantizes.
        floats: whether ONNX Runtime computes the quantized layer in floats.
    """

    workload: Workload
    flops: int
    f32_bytes: int
    int8_bytes: int
    vnni: bool
    quantizing: float = 0.0
    floats: bool = False


def reason(wins: str, facts: Facts) -> str:
    """In words; `wins` is `f32`, `int8` or `even`."""
    bytes_less = f"{facts.f32_bytes / max(1, facts.int8_bytes):.1f} times fewer bytes"
    waits = facts.flops < _FEW_PER_BYTE * facts.f32_bytes
    if wins == "int8":
        if waits:
            return f"{bytes_less}, {facts.flops / max(1, facts.f32_bytes):.0f} FLOPs a byte of f32"
        return "VNNI: four products an instruction and lane" if facts.vnni else f"{bytes_less}; no VNNI"
    if facts.floats:
        return "ONNX Runtime computes it in floats, between dequantizing and quantizing"
    if facts.quantizing > _QUANTIZING:
        return f"quantizing and dequantizing take {facts.quantizing:.0%} of its int8 time"
    if facts.flops < _SHORT_FLOPS:
        return f"{facts.flops / 1e6:.2g} MFLOP: what a call costs whatever it computes"
    if not facts.vnni:
        return "no VNNI: an int8 product takes more instructions than an f32 one"
    w = facts.workload
    if "c" not in dict(w.dims):
        return "neither bytes nor instructions explain it"
    # A sum of a convolution runs over the channels of its group.
    groups = int(w.option("groups", 1))
    if w["c"] == groups:
        return "depthwise: sums of one channel have no groups of four for VNNI"
    if w["c"] // groups < _FEW_CHANNELS:
        return f"{w['c'] // groups} channels a sum: groups of four for VNNI are few"
    return "neither bytes nor instructions explain it"
