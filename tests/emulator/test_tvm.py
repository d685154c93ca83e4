"""The CUDA C that TVM generates runs right, and clean: shared memory, vectors, reductions, tensor cores."""

import importlib
import inspect
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.emulator.emulate import compute

pytestmark = pytest.mark.skipif(find_spec("tvm") is None, reason="needs TVM")
tvm: Any = None


@pytest.fixture(scope="module", autouse=True)
def _tvm() -> None:
    """Not while tests are collected: every process of the suite would take six seconds to import it."""
    global tvm
    tvm = importlib.import_module("tvm")


def generated(schedule: Any) -> str:
    """The CUDA C++ of a scheduled module, for an A100; nothing is compiled with a CUDA compiler."""
    library = tvm.compile(schedule.mod, target=tvm.target.Target("nvidia/nvidia-a100"))
    return str(library.mod.imports[0].inspect_source())


def product(a: Any, b: Any, total: str) -> Any:
    return a.astype(total) * b.astype(total)


def gemm(m: int, n: int, k: int, dtype: str, total: str) -> Any:
    from tvm import te
    from tvm.s_tir import Schedule

    a, b = te.placeholder((m, k), name="A", dtype=dtype), te.placeholder((k, n), name="B", dtype=dtype)
    r = te.reduce_axis((0, k), name="r")
    c = te.compute(
        (m, n), lambda i, j: te.sum(a[i, r].astype(total) * b[r, j].astype(total), axis=r), name="C"
    )
    return Schedule(tvm.IRModule({"main": te.create_prim_func([a, b, c])}))


def test_shared_tiles_and_vector_loads() -> None:
    s = gemm(128, 128, 64, "float32", "float32")
    block = s.get_sblock("C")
    i, j, k = s.get_loops(block)
    i0, i1, i2 = s.split(i, [None, 16, 4])
    j0, j1, j2 = s.split(j, [None, 16, 4])
    k0, k1 = s.split(k, [None, 16])
    s.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
    thread = s.fuse(i1, j1)
    for loop, axis in ((i0, "blockIdx.y"), (j0, "blockIdx.x"), (thread, "threadIdx.x")):
        s.bind(loop, axis)
    s.reverse_compute_at(s.cache_write(block, 0, "local"), thread)
    for operand in (0, 1):
        fetch = s.cache_read(block, operand, "shared")
        s.compute_at(fetch, k0)
        _, t, v = s.split(s.fuse(*s.get_loops(fetch)[-2:]), [None, 256, 4])
        s.bind(t, "threadIdx.x")
        s.vectorize(v)
    s.decompose_reduction(block, k0)
    text = generated(s)
    assert "__shared__" in text and "float4" in text
    rng = np.random.default_rng(0)
    a, b = rng.random((128, 64), dtype=np.float32), rng.random((64, 128), dtype=np.float32)
    tensors = {"A": a, "B": b, "C": np.zeros((128, 128), np.float32)}
    out = compute(text, tensors, ["C"], grid=(2, 2), block=(256,), entry="main_kernel").outputs["C"]
    np.testing.assert_allclose(out, a.astype(np.float64) @ b, rtol=1e-5)


def test_reduction_across_threads() -> None:
    from tvm import te
    from tvm.s_tir import Schedule

    a = te.placeholder((8, 300), name="A")
    r = te.reduce_axis((0, 300), name="r")
    total = te.compute((8,), lambda i: te.sum(a[i, r], axis=r), name="S")
    s = Schedule(tvm.IRModule({"main": te.create_prim_func([a, total])}))
    i, k = s.get_loops(s.get_sblock("S"))
    _, inner = s.split(k, [None, 128])
    s.bind(i, "blockIdx.x")
    s.bind(inner, "threadIdx.x")
    text = generated(s)
    assert "__shfl_down_sync" in text
    values = np.random.default_rng(1).random((8, 300), dtype=np.float32)
    tensors = {"A": values, "S": np.zeros(8, np.float32)}
    out = compute(text, tensors, ["S"], grid=(8,), block=(128,), entry="main_kernel").outputs["S"]
    np.testing.assert_allclose(out, values.sum(axis=1), rtol=1e-5)


def test_half_vectors_and_math() -> None:
    from tvm import te
    from tvm.s_tir import Schedule

    a = te.placeholder((16, 64), name="A", dtype="float16")
    b = te.compute((16, 64), lambda i, j: te.exp(a[i, j]) * a[i, j] + te.tanh(a[i, j]), name="B")
    s = Schedule(tvm.IRModule({"main": te.create_prim_func([a, b])}))
    x, t, v = s.split(s.fuse(*s.get_loops(s.get_sblock("B"))), [None, 64, 4])
    s.bind(x, "blockIdx.x")
    s.bind(t, "threadIdx.x")
    s.vectorize(v)
    values = np.random.default_rng(2).uniform(-2, 2, (16, 64)).astype(np.float16)
    tensors = {"A": values, "B": np.zeros_like(values)}
    out = compute(generated(s), tensors, ["B"], grid=(4,), block=(64,), entry="main_kernel").outputs["B"]
    wide = values.astype(np.float64)
    np.testing.assert_allclose(out, np.exp(wide) * wide + np.tanh(wide), rtol=4e-3, atol=4e-3)


def frames(context: int = 1) -> list[Any]:
    """inspect.stack without reading source lines: TVM calls it for each of thousands of parsed functions."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back  # type: ignore[assignment]
    return found


# TVM parses a few hundred intrinsics to import these: seconds on an idle machine, minutes on a busy one.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("dtype", "total", "scope"), [("float16", "float32", "shared.dyn"), ("int8", "int32", "shared")]
)
def test_tensor_cores(dtype: str, total: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(inspect, "stack", frames)
        from tvm.s_tir.tensor_intrin.cuda import get_wmma_intrin_group
    intrinsics = get_wmma_intrin_group(
        load_scope=scope, store_scope=scope, in_dtype=dtype, out_dtype=total, trans_b=False
    )
    s = gemm(64, 64, 64, dtype, total)
    block = s.get_sblock("C")
    i, j, k = s.get_loops(block)
    (i, ii), (j, jj), (k, kk) = (s.split(loop, [None, 16]) for loop in (i, j, k))
    s.reorder(i, j, k, ii, jj, kk)
    (block_i, warp_i), (block_j, warp_j), (k0, k1) = (s.split(loop, [None, 2]) for loop in (i, j, k))
    s.reorder(block_i, block_j, warp_i, warp_j, k0, k1)
    warp = s.fuse(warp_i, warp_j)
    for loop, axis in ((block_i, "blockIdx.y"), (block_j, "blockIdx.x"), (warp, "threadIdx.y")):
        s.bind(loop, axis)
    staged = s.cache_write(block, 0, scope)
    sums = s.cache_write(block, 0, "wmma.accumulator")
    s.reverse_compute_at(sums, warp)
    s.reverse_compute_at(staged, warp)

    def tile(target: Any) -> Any:
        rows, cols = s.get_loops(target)[-2:]
        (r0, r1), (c0, c1) = s.split(rows, [None, 16]), s.split(cols, [None, 16])
        s.reorder(r0, c0, r1, c1)
        return r1

    parts = []
    for operand, kind in enumerate(("wmma.matrix_a", "wmma.matrix_b")):
        parts.append(s.cache_read(block, operand, kind))
        s.compute_at(parts[-1], k1)
    for part, name in zip(parts, ("load_a", "load_b"), strict=True):
        fetch = s.cache_read(part, 0, scope)
        s.compute_at(fetch, k0)
        _, y, t, v = s.split(s.fuse(*s.get_loops(fetch)[-2:]), [None, 4, 32, 8])
        s.bind(y, "threadIdx.y")
        s.bind(t, "threadIdx.x")
        s.vectorize(v)
        s.tensorize(tile(part), intrinsics[name])
    _, t, v = s.split(s.fuse(*s.get_loops(staged)[-2:]), [None, 32, 4])
    s.bind(t, "threadIdx.x")
    s.vectorize(v)
    initial = s.decompose_reduction(block, k0)
    s.tensorize(s.get_loops(initial)[-2], intrinsics["init"])
    s.tensorize(s.get_loops(block)[-3], intrinsics["compute"])
    s.tensorize(tile(sums), intrinsics["store"])
    text = generated(s)
    assert "nvcuda::wmma::mma_sync" in text and ("extern __shared__" in text) == (scope == "shared.dyn")
    rng = np.random.default_rng(3)
    if dtype == "int8":
        a, b = (rng.integers(-128, 128, (64, 64)).astype(np.int8) for _ in range(2))
    else:
        a, b = (rng.uniform(-1, 1, (64, 64)).astype(np.float16) for _ in range(2))
    tensors = {"A": a, "B": b, "C": np.zeros((64, 64), total)}
    shared = 4096 if scope == "shared.dyn" else 0
    out = compute(
        text, tensors, ["C"], grid=(2, 2), block=(32, 4), shared=shared, entry="main_kernel"
    ).outputs["C"]
    np.testing.assert_allclose(
        out, a.astype(np.float64) @ b.astype(np.float64), atol=0 if dtype == "int8" else 1e-5
    )
