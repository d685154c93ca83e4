"""What a trace may hold: the instructions, annotations and values that MetaSchedule's own rules make.

Traces come from databases, recordings and command lines of other people, and TVM does what they say. An
annotation `pragma_import_llvm` links a module of somebody's own into the kernel; an index map is a serialized
graph of any objects TVM knows. So a trace is data only as far as this file says: whatever is not listed here
is refused before TVM sees it. What passes only transforms loops of the program it is applied to. That
program's schedule may still be slow, large or, where TVM has an error, wrong: verification finds that out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.core.errors import InvalidConfig
from tuner.core.index_map import is_index_map

_INT = 2**31
_RANDOM_VARIABLE = re.compile(r"[blv]\d{1,7}")
_RANDOM_VARIABLES = re.compile(r"(?:[blv]\d{1,7} ?)*")
_VARIABLE = re.compile(r"v\d{1,7}")
_NAME = re.compile(r"[A-Za-z_][\w.]{0,199}")
# Of x86 (AVX-512, VNNI), Arm (dot product) and NVIDIA GPUs: those that only compute.
_INTRINSIC = re.compile(
    r"dot_16x4_(?:vnni|avx512)|dot_4x4_[isu]8[isu]8[su]32_(?:neon|sdot|udot)|dp4a_[su]8[su]8[su]32"
    r"|(?:wmma|mma)_(?:load|ldmatrix|store|fill|sync)_\w{1,60}|mma_[a-z]+\d\w{1,60}"
)
_THREAD = re.compile(r"(?:blockIdx|threadIdx|vthread)\.[xyz]")
_SCOPE = re.compile(
    r"global|local|warp|shared(?:\.dyn)?|wmma\.(?:matrix_[ab]|accumulator)|m16n8k8\.matrix[ABC]"
)

Check = Callable[[Any], bool]


def _is_int(value: Any, low: int = -_INT, high: int = _INT) -> bool:
    return isinstance(value, int) and low <= value < high


def _integers(low: int, high: int) -> Check:
    return lambda value: _is_int(value, low, high + 1)


def _text(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _quoted(pattern: re.Pattern[str]) -> Check:
    """A text among inputs, where bare ones name random variables."""
    quoted = re.compile(f'"(?:{pattern.pattern})"')
    return _text(quoted)


def _list_of(check: Check, most: int = 64) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


_number, _flag = _integers(-_INT, _INT - 1), _integers(0, 1)
_variable, _random_variable = _text(_VARIABLE), _text(_RANDOM_VARIABLE)
_blocks = _list_of(_random_variable)
_NONE = re.compile("")
_SWIZZLE = re.compile(r"[gs]2[sl]_[ABC]")

# Loops may be unrolled, and vectors be as long, as MetaSchedule's rules for any target ask for, and
# eight times that: a number without a bound is a build without an end.
ANNOTATIONS: Mapping[str, Check] = {
    "meta_schedule.tiling_structure": _quoted(re.compile(r"[SR]{1,16}")),
    "meta_schedule.parallel": _integers(0, 2**20),
    "meta_schedule.vectorize": _integers(0, 1024),
    "meta_schedule.unroll_explicit": _either(_variable, _integers(0, 8192)),
    "meta_schedule.unroll_implicit": _either(_variable, _integers(0, 8192)),
    "meta_schedule.cooperative_fetch": _either(_variable, _integers(0, 64)),
    "meta_schedule.thread_extent_low_inclusive": _integers(0, 8192),
    "meta_schedule.thread_extent_high_inclusive": _integers(0, 8192),
    "meta_schedule.random_compute_producer": _flag,
    "meta_schedule.auto_tensorize": _either(_quoted(_INTRINSIC), _quoted(_NONE)),
    "meta_schedule.auto_tensorize_init": _quoted(_INTRINSIC),
    "pragma_auto_unroll_max_step": _integers(0, 8192),
    "pragma_unroll_explicit": _flag,
    "warp_execution": _flag,
    "double_buffer_scope": _integers(0, 16),
    "software_pipeline_stage": _list_of(_integers(0, 16)),
    "software_pipeline_order": _list_of(_integers(0, 64)),
    "software_pipeline_async_stages": _list_of(_integers(0, 16)),
    "permuted_layout": _quoted(_SWIZZLE),
    "tirx.manifest_shared_memory_local_stage": _flag,
}
"""Annotation keys, and what their values are."""

_annotation: Check = lambda key: isinstance(key, str) and key in ANNOTATIONS  # noqa: E731
_map: Check = lambda value: isinstance(value, str) and is_index_map(value)  # noqa: E731
# TVM writes it either way.
_nothing: Check = lambda value: value in (None, "None")  # noqa: E731

# Inputs: one check for all of them, random variables where there is none. Attributes: one a place.
_PLAIN: tuple[Check, tuple[Check, ...]] = (_random_variable, ())
INSTRUCTIONS: Mapping[str, tuple[Check, tuple[Check, ...]]] = {
    **dict.fromkeys(
        ("GetLoops", "GetChildBlocks", "GetProducers", "GetConsumers", "GetOutputBlocks", "AddUnitLoop",
         "Parallel", "Vectorize", "Unroll", "Reorder", "ComputeInline", "ReverseComputeInline",
         "DecomposeReduction", "EnterPostproc", "SampleComputeLocation", "Merge", "DecomposePadding"),
        _PLAIN,
    ),
    "GetSBlock": (_random_variable, (_text(_NAME), _text(_NAME))),
    "Fuse": (_random_variable, (_flag,)),
    "Split": (_either(_nothing, _random_variable, _integers(1, _INT)), (_flag, _flag)),
    "Bind": (_random_variable, (_text(_THREAD),)),
    "CacheRead": (_either(_random_variable, _blocks), (_number, _text(_SCOPE))),
    "CacheWrite": (_either(_random_variable, _blocks), (_number, _text(_SCOPE))),
    "ReIndex": (_random_variable, (_number, _flag)),
    "ComputeAt": (_random_variable, (_flag, _number)),
    "ReverseComputeAt": (_random_variable, (_flag, _number)),
    "RFactor": (_random_variable, (_number,)),
    "ReorderBlockIterVar": (_random_variable, (_list_of(_number),)),
    "StorageAlign": (_random_variable, (_number, _number, _number, _number)),
    "SetScope": (_random_variable, (_number, _text(_SCOPE))),
    "Blockize": (_random_variable, (_flag,)),
    "PadEinsum": (_random_variable, (_list_of(_number),)),
    "Tensorize": (_random_variable, (_text(_INTRINSIC), _flag)),
    "TransformLayout": (_either(_map, _random_variable), (_number, _number, _nothing, _flag)),
    "TransformBlockLayout": (_random_variable, (_map,)),
    "SamplePerfectTile": (_random_variable, (_number, _number)),
    "SamplePartitionedTile": (_random_variable, (_number, _number, _number)),
    "SampleCategorical": (_random_variable, (_list_of(_number), _list_of(
        lambda value: isinstance(value, int | float) and 0 <= value <= 1))),
    "Unannotate": (_random_variable, (_annotation,)),
}  # fmt: skip
"""Kinds of instructions, and what their inputs and attributes are; `Annotate` besides."""


def require_known(instructions: Sequence[Sequence[Any]], decisions: Sequence[Sequence[Any]]) -> None:
    """Checks the content of a trace that has the form of one (`tuner.core.trace_space.check_trace`).

    Args:
        instructions: `[name, inputs, attributes, outputs]` each.
        decisions: `[number of the instruction, value]` each.

    Raises:
        InvalidConfig: there is anything in it that MetaSchedule's rules do not make; names it.
    """
    for i, (name, inputs, attributes, outputs) in enumerate(instructions):
        problem = _why_unknown(name, inputs, attributes)
        if problem is None and not _are_random_variables(outputs):
            problem = f"{name} that gives {_shown(outputs)}"
        if problem is not None:
            raise InvalidConfig(
                f"trace: instruction {i}: {problem} is nothing that MetaSchedule's rules make"
            )
    for number, value in decisions:
        name = instructions[number][0]
        if not (name.startswith("Sample") and _decided(value)):
            raise InvalidConfig(f"trace: a decision {_shown(value)} is none that {_shown(name)} takes")


_decided = _either(_number, _list_of(_number))


def _why_unknown(name: str, inputs: Sequence[Any], attributes: Sequence[Any]) -> str | None:
    """What of an instruction is not listed; `None` where all of it is."""
    if name == "Annotate":
        key: Any = attributes[0] if len(attributes) == 1 else attributes
        if not _annotation(key):
            return f"annotation {_shown(key)}"
        if len(inputs) != 2 or not _random_variable(inputs[0]):
            return f"annotation {key} of {_shown(inputs)}"
        return None if ANNOTATIONS[key](inputs[1]) else f"annotation {key} = {_shown(inputs[1])}"
    if name not in INSTRUCTIONS:
        return f"instruction {_shown(name)}"
    given, checks = INSTRUCTIONS[name]
    if not _are_random_variables(inputs) and not all(map(given, inputs)):
        return f"{name} of {_shown(inputs)}"
    if len(attributes) != len(checks) or not all(c(v) for c, v in zip(checks, attributes, strict=True)):
        return f"{name} with {_shown(attributes)}"
    return None


def _are_random_variables(values: Sequence[Any]) -> bool:
    """All of them at once: nearly all that a trace has are these, and each is checked in every trial."""
    try:
        text = " ".join(values)
    except TypeError:
        return False
    return _RANDOM_VARIABLES.fullmatch(text) is not None and text.count(" ") == max(0, len(values) - 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
