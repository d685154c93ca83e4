"""A scheduled TensorIR module as CUDA C and the launches its host would make of it.

TVM's pipeline splits a module into kernels and the function of the host that calls them. The host is never
compiled here: it is read, and its calls become the steps of a source. Memory that it allocates between the
kernels becomes their workspaces.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tuner.core.errors import BuildError
from tuner.core.kernel import Argument, KernelStep, Launch

# Loops that are to be unrolled get a pragma instead of copies of their body: the text stays small.
# Storage rewriting would give sums (f32) the place of tiles (f16), which wmma's pointers do not allow.
_CONFIG = {"tirx.UnrollLoop": {"explicit_unroll": False}, "tirx.disable_storage_rewrite": True}
# Inline PTX that TVM writes, and the same by CUDA's names: the emulator runs no PTX.
_PTX = tuple(
    (re.compile(rf'^( *)(asm volatile\("cp\.async\.{instruction};".*)$', re.MULTILINE), named)
    for instruction, named in (
        (r"wait_group (\d+)", r"__pipeline_wait_prior(\3);"),
        ("commit_group", "__pipeline_commit();"),
    )
)
# What TVM calls with the CUDA C that it wrote, for machine code.
_COMPILES = "tvm_callback_cuda_compile"
_AXES = ("x", "y", "z")
_SHARED = "tirx.use_dyn_shared_memory"
_REDUCES = 2  # tvm.tirx.IterVar.CommReduce
_INSIDE = ("body", "then_case", "else_case")


@contextmanager
def _not_compiled_by_tvm() -> Iterator[None]:
    """Within it TVM writes CUDA C and compiles none.

    Beside a driver TVM's own runtime of CUDA loads and would compile what TVM wrote, for the GPU it finds
    and with flags of its own; the lab compiles the text by NVRTC, so that would be thrown away. In a build
    process, which opens no GPU, it fails.
    """
    import tvm
    from tvm_ffi import register_global_func

    own = tvm.get_global_func(_COMPILES, allow_missing=True)
    register_global_func(_COMPILES, lambda code: b"not compiled", override=True)
    try:
        yield
    finally:
        if own is not None:
            register_global_func(_COMPILES, own, override=True)


def cuda_program(module: Any, tensors: Mapping[str, Argument], arch: str) -> tuple[str, list[KernelStep]]:
    """The CUDA C of a scheduled module, and its kernels in the order the host calls them.

    Their metrics are `flops` of their work, where it is in blocks and so can be counted, and `least_bytes`,
    the sizes of all they are given.

    Args:
        module: a `tvm.IRModule` of one function.
        tensors: by name, the arguments that are the function's own parameters.
        arch: `sm_80`.

    Raises:
        BuildError: the host does what a sequence of launches cannot (a loop, a size known late), or kernels
            and loop nests are not as many.
        Exception: of TVM's own, where it refuses the module.
    """
    import tvm
    from tvm.target import Target
    from tvm.tirx.build import codegen_build, split_host_device_mods

    # A target without a host would be given one by the first pass: LLVM's, here never asked for code.
    target = Target({"kind": "cuda", "arch": arch}).with_host(Target("llvm"))
    work = _work(module)
    with tvm.transform.PassContext(opt_level=3, config=dict(_CONFIG)):
        pipeline, _, finalize = tvm.tirx.get_tir_pipeline("default")
        split = pipeline(tvm.tirx.transform.BindTarget(target)(module))
        host, devices = split_host_device_mods(split)
        if not devices:
            raise BuildError("the schedule binds no loop to threads of the GPU")
        ((device_target, device),) = devices.items()
        with _not_compiled_by_tvm():
            text = str(codegen_build(finalize()(device), device_target).inspect_source())
    for pattern, named in _PTX:
        text = pattern.sub(rf"#ifdef __CUDA_EMULATOR__\n\1{named}\n#else\n\1\2\n#endif", text)
    (function,) = (f for _, f in host.functions.items())
    sizes, calls = _read(function.body)
    steps = [_step(call, tensors, sizes) for call in calls]
    if not steps:
        return text, steps
    if len(work) != len(steps):
        if len(steps) > 1:
            raise BuildError(f"{len(work)} loop nests became {len(steps)} kernels: whose work is whose?")
        work = [sum(work)]
    sizes = {**sizes, **_parameters(module)}
    least = [float(sum(sizes[argument.name] for argument in step.arguments)) for step in steps]
    counted = [{"flops": flops} if flops or len(steps) > 1 else {} for flops in work]
    return text, [
        replace(step, metrics={**flops, "least_bytes": moved})
        for step, flops, moved in zip(steps, counted, least, strict=True)
    ]


def _parameters(module: Any) -> dict[str, int]:
    """Bytes of the function's own tensors, by name."""
    (function,) = (f for _, f in module.functions.items())
    return {str(buffer.name): _bytes(buffer) for buffer in function.params}


def _bytes(buffer: Any) -> int:
    shape = [_constant(size, f"the size of {buffer.name}") for size in buffer.shape]
    return math.prod(shape) * -(-int(buffer.dtype.bits) // 8) * int(buffer.dtype.lanes)


def _work(module: Any) -> list[float]:
    """Floating-point operations of the outermost loop nests, each of which becomes a kernel.

    Of a nest that reduces only the reductions count: what is fetched by many threads is computed while it is
    fetched, and TVM's own count would take that for work of each of them.
    """
    (function,) = (f for _, f in module.functions.items())
    nests = function.body.block.body
    found = []
    for nest in nests.seq if hasattr(nests, "seq") else [nests]:
        parts = list(_blocks(nest, 1))
        reduced = [flops for flops, reduces in parts if reduces]
        found.append(float(sum(reduced or (flops for flops, _ in parts))))
    return found


def _blocks(statement: Any, times: int) -> Iterator[tuple[float, bool]]:
    """Operations of the innermost blocks, all repetitions counted, and whether a block reduces."""
    from tvm.s_tir.analysis import estimate_tir_flops

    kind = type(statement).__name__
    if kind == "SeqStmt":
        for one in statement.seq:
            yield from _blocks(one, times)
    elif kind == "For":
        inside = list(_blocks(statement.body, times))
        # A program may bind threads itself and have no blocks; how long its loops are nobody asks then.
        extent = _constant(statement.extent, "the extent of a loop") if inside else 0
        yield from ((flops * extent, reduces) for flops, reduces in inside)
    elif kind == "SBlockRealize":
        block = statement.block
        if block.iter_vars:
            reduces = any(int(axis.iter_type) == _REDUCES for axis in block.iter_vars)
            yield times * float(estimate_tir_flops(block.body)), reduces
        else:
            yield from _blocks(block.body, times)


def _statements(statement: Any, top: bool = True) -> Iterator[tuple[Any, bool]]:
    """All statements below one, and whether each is done exactly once."""
    kind = type(statement).__name__
    if kind == "SeqStmt":
        for one in statement.seq:
            yield from _statements(one, top)
        return
    yield statement, top
    once = top and kind not in ("For", "While", "IfThenElse")
    for name in _INSIDE:
        if (inside := getattr(statement, name, None)) is not None:
            yield from _statements(inside, once)


def _read(body: Any) -> tuple[dict[str, int], list[Any]]:
    """Bytes of what the host allocates, by name, and its calls of kernels, in order."""
    sizes: dict[str, int] = {}
    calls = []
    for statement, once in _statements(body):
        kind = type(statement).__name__
        if kind == "AllocBuffer":
            sizes[str(statement.buffer.name)] = _bytes(statement.buffer)
        elif kind == "Evaluate" and "call_ffi_kernel" in str(getattr(statement.value, "op", "")):
            if not once:
                raise BuildError("the schedule launches a kernel in a loop or on a condition of the host")
            calls.append(statement.value)
    return sizes, calls


def _constant(value: Any, what: str) -> int:
    if type(value).__name__ not in ("IntImm", "int"):
        raise BuildError(f"{what} is not a constant")
    return int(value)


def _step(call: Any, tensors: Mapping[str, Argument], sizes: Mapping[str, int]) -> KernelStep:
    entry, *values = call.args
    names = [str(name) for name in call.attrs.launch_params]
    extents = dict(zip(names, values[len(values) - len(names) :], strict=True))
    arguments = []
    for value in values[: len(values) - len(names)]:
        name = str(value).removesuffix(".data")
        if name in sizes:
            arguments.append(Argument(name, "workspace", sizes[name]))
        elif name in tensors:
            arguments.append(tensors[name])
        else:
            raise BuildError(f"TVM passes a parameter that is not understood: {value}")
    entry = str(entry.value)
    grid, block = (
        tuple(_constant(extents.get(f"{tag}.{axis}", 1), f"the extent of {tag}.{axis}") for axis in _AXES)
        for tag in ("blockIdx", "threadIdx")
    )
    shared = _constant(extents.get(_SHARED, 0), "the size of dynamic shared memory")
    return KernelStep(entry, tuple(arguments), Launch(grid, block, shared))  # type: ignore[arg-type]
