"""TVM's name for a target of ours: plain values, so that kernels, builders and searchers agree on it."""

from typing import Any

from tuner.core.host_cxx import X86_FEATURES
from tuner.core.target import Target

# The levels of the x86-64 psABI, by a feature that each adds: what LLVM schedules for. Features are set
# one by one besides.
_LEVELS = (("avx512f", "x86-64-v4"), ("avx2", "x86-64-v3"), ("sse4.2", "x86-64-v2"))
# What a level has beside these features (x86-64 psABI, table 3.1). Code for a target that lacks one must not
# use it; what LLVM itself has avx512f imply (f16c, fma) cannot be taken from it.
_BESIDE = {
    "avx2": ("bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
    "avx512f": ("avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
_OF_AVX512F = ("f16c", "fma")
# gcc and LLVM spell all of these alike but for one.
_LLVM_FEATURES = X86_FEATURES - {"avxvnni"}
# What a block may declare without asking the driver for more: arrays in shared memory that TVM writes are
# static ones.
_STATIC_SHARED_BYTES = 48 * 1024


def target_dict(target: Target) -> dict[str, Any]:
    """TVM's target for one of ours, from its features alone, whatever machine builds.

    `-prefer-256-bit`: LLVM halves vectors of 512 bits for x86-64-v4 otherwise. What the level implies and the
    target lacks is switched off: a program that asks its processor for the target's features has asked for
    all that the code uses.
    """
    cores = int(target.limits.get("cores", 1))
    if target.launched:
        shared = int(target.limits.get("shared_bytes_block", _STATIC_SHARED_BYTES))
        return {
            "kind": target.kind, "arch": target.arch,
            "max_threads_per_block": int(target.limits.get("max_threads_block", 1024)),
            "max_shared_memory_per_block": min(shared, _STATIC_SHARED_BYTES),
            "thread_warp_size": int(target.limits.get("warp_size", 32)),
        }  # fmt: skip
    if target.arch in ("neon", "aarch64"):
        # llvm-config style: 128-bit vectors are part of the base instruction set.
        triple = "aarch64-unknown-linux-gnu"
        return {"kind": "llvm", "mtriple": triple, "mattr": ["+neon"], "num-cores": cores}
    mcpu = next((level for feature, level in _LEVELS if feature in target.features), "x86-64")
    features = [f"+{feature}" for feature in sorted(target.features) if feature in _LLVM_FEATURES]
    kept = {*target.features, *(_OF_AVX512F if "avx512f" in target.features else ())}
    beside = [name for feature, names in _BESIDE.items() if feature in kept for name in names]
    features += [f"-{name}" for name in beside if name not in kept]
    wide = ["-prefer-256-bit"] if "avx512f" in target.features else []
    triple = "x86_64-unknown-linux-gnu"
    return {"kind": "llvm", "mtriple": triple, "mcpu": mcpu, "mattr": [*features, *wide], "num-cores": cores}
