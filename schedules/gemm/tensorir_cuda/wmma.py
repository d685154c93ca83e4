"""Tensor cores for the TensorIR GEMM: wmma operations as tensor intrinsics, and the schedule that uses them.

TVM has such intrinsics of its own, in a module that takes many seconds to import (it parses hundreds of
functions); the few that are needed here are made from text when they are first asked for.
"""

from typing import Any

from tuner.schedules.gemm.tensorir_cuda.program import EDGE, Program, fetch

_DTYPES = {"f16": ("float16", "float32"), "bf16": ("bfloat16", "float32"), "int8": ("int8", "int32")}


def _buffer(name: str, dtype: str, scope: str, strides: str = "") -> str:
    extra = f", strides=[{strides}]" if strides else ""
    return (
        f"{name.upper()} = T.match_buffer({name}, ({EDGE}, {EDGE}), '{dtype}', align=64, "
        f"offset_factor={EDGE}, scope='{scope}'{extra})"
    )


def _fragment(name: str, stride: str) -> str:
    """Which fragment of an array of them: rows of `stride` elements hold stride / 16 fragments."""
    at = f"{name}.elem_offset"
    return f"{at} // {stride} // {EDGE} * ({stride} // {EDGE}) + {at} % {stride} // {EDGE}"


def _register(name: str, description: str, implementation: str) -> str:
    import tvm
    from tvm.script import from_source

    head = "@T.prim_func(s_tir=True)\n"
    described, made = from_source(head + description), from_source(head + implementation)
    tvm.s_tir.TensorIntrin.register(name, described, made, override=True)
    return name


def _load(operand: str, dtype: str, columns: bool) -> str:
    """A 16 x 16 tile of shared memory to a fragment; `columns`: its rows run along the outer dimension."""
    frag = f"wmma.matrix_{operand}"
    # A is read as [row, k], B as [k, column]: the other way round it is column-major.
    layout = "col_major" if columns else "row_major"
    return _register(
        f"tuner_wmma_load_{operand}_{dtype}_{layout}",
        f"""
def desc(a: T.handle, c: T.handle) -> None:
    {_buffer("a", dtype, "shared")}
    {_buffer("c", dtype, frag)}
    with T.sblock("root"):
        T.reads(A[0:{EDGE}, 0:{EDGE}])
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        for i, j in T.grid({EDGE}, {EDGE}):
            with T.sblock("load"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[vi, vj]
""",
        f"""
def impl(a: T.handle, c: T.handle) -> None:
    s1 = T.int32()
    s0 = T.int32()
    d1 = T.int32()
    d0 = T.int32()
    {_buffer("a", dtype, "shared", "s1, s0")}
    {_buffer("c", dtype, frag, "d1, d0")}
    with T.sblock("root"):
        T.reads(A[0:{EDGE}, 0:{EDGE}])
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        T.evaluate(T.tvm_load_matrix_sync(
            C.data, {EDGE}, {EDGE}, {EDGE}, {_fragment("C", "d1")},
            A.access_ptr("r", ptr_type="{dtype}"), s1, "{layout}", dtype="void"))
""",
    )


def _fill(dtype: str) -> str:
    zero = "T.float32(0)" if dtype == "float32" else "0"
    return _register(
        f"tuner_wmma_fill_{dtype}",
        f"""
def desc(c: T.handle) -> None:
    {_buffer("c", dtype, "wmma.accumulator")}
    with T.sblock("root"):
        T.reads()
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        for i, j in T.grid({EDGE}, {EDGE}):
            with T.sblock("init"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.{dtype}(0)
""",
        f"""
def impl(c: T.handle) -> None:
    d1 = T.int32()
    d0 = T.int32()
    {_buffer("c", dtype, "wmma.accumulator", "d1, d0")}
    with T.sblock("root"):
        T.reads()
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        T.evaluate(T.tvm_fill_fragment(
            C.data, {EDGE}, {EDGE}, {EDGE}, {_fragment("C", "d1")}, {zero}, dtype="void"))
""",
    )


def _multiply(narrow: str, wide: str, a_columns: bool, b_columns: bool) -> str:
    a_at, b_at = "vk, vi" if a_columns else "vi, vk", "vj, vk" if b_columns else "vk, vj"
    everything = "[0:16, 0:16]"
    return _register(
        f"tuner_wmma_multiply_{narrow}_{int(a_columns)}{int(b_columns)}",
        f"""
def desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    {_buffer("a", narrow, "wmma.matrix_a")}
    {_buffer("b", narrow, "wmma.matrix_b")}
    {_buffer("c", wide, "wmma.accumulator")}
    with T.sblock("root"):
        T.reads(C{everything}, A{everything}, B{everything})
        T.writes(C{everything})
        for i, j, k in T.grid({EDGE}, {EDGE}, {EDGE}):
            with T.sblock(""):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + T.Cast("{wide}", A[{a_at}]) * T.Cast("{wide}", B[{b_at}])
""",
        f"""
def impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    a1 = T.int32()
    a0 = T.int32()
    b1 = T.int32()
    b0 = T.int32()
    c1 = T.int32()
    c0 = T.int32()
    {_buffer("a", narrow, "wmma.matrix_a", "a1, a0")}
    {_buffer("b", narrow, "wmma.matrix_b", "b1, b0")}
    {_buffer("c", wide, "wmma.accumulator", "c1, c0")}
    with T.sblock("root"):
        T.reads(C{everything}, A{everything}, B{everything})
        T.writes(C{everything})
        T.evaluate(T.tvm_mma_sync(
            C.data, {_fragment("C", "c1")}, A.data, {_fragment("A", "a1")}, B.data, {_fragment("B", "b1")},
            C.data, {_fragment("C", "c1")}, dtype="void"))
""",
    )


def _store(dtype: str) -> str:
    return _register(
        f"tuner_wmma_store_{dtype}",
        f"""
def desc(a: T.handle, c: T.handle) -> None:
    {_buffer("a", dtype, "wmma.accumulator")}
    {_buffer("c", dtype, "shared")}
    with T.sblock("root"):
        T.reads(A[0:{EDGE}, 0:{EDGE}])
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        for i, j in T.grid({EDGE}, {EDGE}):
            with T.sblock("store"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[vi, vj]
""",
        f"""
def impl(a: T.handle, c: T.handle) -> None:
    s1 = T.int32()
    s0 = T.int32()
    d1 = T.int32()
    d0 = T.int32()
    {_buffer("a", dtype, "wmma.accumulator", "d1, d0")}
    {_buffer("c", dtype, "shared", "s1, s0")}
    with T.sblock("root"):
        T.reads(A[0:{EDGE}, 0:{EDGE}])
        T.writes(C[0:{EDGE}, 0:{EDGE}])
        T.evaluate(T.tvm_store_matrix_sync(
            A.data, {EDGE}, {EDGE}, {EDGE}, {_fragment("A", "d1")},
            C.access_ptr("w", ptr_type="{dtype}"), s1, "row_major", dtype="void"))
""",
    )


def schedule(made: Any, program: Program) -> None:
    """Maps the program's sum to warps of WM x WN elements each, in fragments."""
    narrow, wide = _DTYPES[program.dtype]
    a_columns, b_columns = bool(program.trans_a), bool(program.trans_b)
    total = made.get_sblock("sum")
    copy = made.cache_write(total, 0, "wmma.accumulator")
    b, tm, tn, wm, wn, fm, fn, i, j, p = made.get_loops(total)
    outer, step, depth = made.split(p, [None, program.BK // EDGE, EDGE])
    made.reorder(b, tm, tn, wm, wn, outer, step, fm, fn, i, j, depth)
    made.bind(b, "blockIdx.z")
    made.bind(made.fuse(tm, tn), "blockIdx.x")
    warp = made.fuse(wm, wn)
    made.bind(warp, "threadIdx.y")
    warps = program.threads // 32
    fetch(made, program, outer, [("threadIdx.y", warps), ("threadIdx.x", 32)])
    for operand, columns in ((0, a_columns), (1, b_columns)):
        letter = "ab"[operand]
        part = made.cache_read(total, operand, f"wmma.matrix_{letter}")
        made.compute_at(part, step, preserve_unit_loops=True)
        row, col = made.get_loops(part)[-2:]
        row, inner_row = made.split(row, [None, EDGE])
        col, inner_col = made.split(col, [None, EDGE])
        made.reorder(row, col, inner_row, inner_col)
        # B as [k, column] is row-major, as [column, k] column-major: the other way round than A.
        made.tensorize(inner_row, _load(letter, narrow, columns))
    made.reverse_compute_at(copy, warp, preserve_unit_loops=True)
    made.reverse_compute_at(made.get_sblock("store"), made.get_loops(copy)[-3], preserve_unit_loops=True)
    last = made.fuse(*made.get_loops(made.get_sblock("store"))[-2:])
    made.bind(made.split(last, [None, 32])[1], "threadIdx.x")
    init = made.decompose_reduction(total, outer)
    # Fragments are registers, so every index of an array of them has to be a constant.
    for loop in (fm, fn, *made.get_loops(init)[-4:-2], *made.get_loops(copy)[-4:-2]):
        made.unroll(loop)
    made.tensorize(made.get_loops(init)[-2], _fill(wide))
    made.tensorize(made.get_loops(copy)[-2], _store(wide))
    made.tensorize(made.get_loops(total)[-3], _multiply(narrow, wide, a_columns, b_columns))
