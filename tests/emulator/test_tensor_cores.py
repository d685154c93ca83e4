"""wmma: every shape, element type and layout against NumPy."""

import numpy as np
import pytest

from tests.emulator.emulate import compute, kinds, only, run

SHAPES = [(16, 16, 16), (32, 8, 16), (8, 32, 16)]
TYPES = {
    # factors, accumulator, NumPy types of both, tolerance
    "half_float": ("half", "float", np.float16, np.float32, 1e-6),
    "half_half": ("half", "half", np.float16, np.float16, 1e-2),
    "s8": ("signed char", "int", np.int8, np.int32, 0),
    "u8": ("unsigned char", "int", np.uint8, np.int32, 0),
}
TEXT = """#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void k(const FACTOR* a, const FACTOR* b, const SUM* c, SUM* d) {
  fragment<matrix_a, M, N, K, FACTOR, LAYOUT_A> fa;
  fragment<matrix_b, M, N, K, FACTOR, LAYOUT_B> fb;
  fragment<accumulator, M, N, K, SUM> fc, fd;
  load_matrix_sync(fa, a, LDA);
  load_matrix_sync(fb, b, LDB);
  load_matrix_sync(fc, c, LDC, LAYOUT_C);
  mma_sync(fd, fa, fb, fc);
  for (int i = 0; i < fd.num_elements; ++i) fd.x[i] = fd.x[i] + fc.x[i];
  store_matrix_sync(d, fd, LDC, LAYOUT_C);
}"""


def operands(shape: tuple[int, int, int], factor: type, total: type) -> list[np.ndarray]:
    m, n, k = shape
    rng = np.random.default_rng(m + n)
    if np.issubdtype(factor, np.integer):
        info = np.iinfo(factor)
        return [rng.integers(info.min, info.max + 1, s).astype(factor) for s in ((m, k), (k, n))] + [
            rng.integers(-1000, 1000, (m, n)).astype(total)
        ]
    return [rng.uniform(-1, 1, s).astype(t) for s, t in (((m, k), factor), ((k, n), factor), ((m, n), total))]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.sampled(6)
def test_all_shapes_and_types(kind: str, shape: tuple[int, int, int]) -> None:
    factor, total, np_factor, np_total, tolerance = TYPES[kind]
    m, n, k = shape
    a, b, c = operands(shape, np_factor, np_total)
    # Every layout is met: rows and columns change places with the shape.
    rows_a, rows_b, rows_c = m == 16, n != 8, k == 16 and m != 8
    words = {"FACTOR": factor, "SUM": total, "LDA": k if rows_a else m, "LDB": n if rows_b else k,
             "LDC": n if rows_c else m, "LAYOUT_A": "row_major" if rows_a else "col_major",
             "LAYOUT_B": "row_major" if rows_b else "col_major",
             "LAYOUT_C": "mem_row_major" if rows_c else "mem_col_major", "M": m, "N": n, "K": k}  # fmt: skip
    text = "".join(f"#define {name} {word}\n" for name, word in words.items()) + TEXT

    def laid(x: np.ndarray, by_rows: bool) -> np.ndarray:
        return np.ascontiguousarray(x if by_rows else x.T)

    tensors = {
        "a": laid(a, rows_a),
        "b": laid(b, rows_b),
        "c": laid(c, rows_c),
        "d": np.zeros(m * n, np_total),
    }
    out = compute(text, tensors, ["d"]).outputs["d"]
    wide = np.int64 if tolerance == 0 else np.float64
    expected = a.astype(wide) @ b.astype(wide) + 2 * c.astype(wide)
    np.testing.assert_allclose(out, laid(expected, rows_c).ravel(), rtol=tolerance, atol=10 * tolerance)


def test_bfloat16_tf32_and_double() -> None:
    rng = np.random.default_rng(0)
    text = """#include <mma.h>
    using namespace nvcuda::wmma;
    extern "C" __global__ void k(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* p,
                                 const float* q, const double* x, const double* y, float* d,
                                 float* t, double* z) {
      {
        fragment<matrix_a, 16, 16, 16, __nv_bfloat16, row_major> fa;
        fragment<matrix_b, 16, 16, 16, __nv_bfloat16, row_major> fb;
        fragment<accumulator, 16, 16, 16, float> fc;
        fill_fragment(fc, 0.0f);
        load_matrix_sync(fa, a, 16);
        load_matrix_sync(fb, b, 16);
        mma_sync(fc, fa, fb, fc);
        store_matrix_sync(d, fc, 16, mem_row_major);
      }
      {
        fragment<matrix_a, 16, 16, 8, precision::tf32, row_major> fa;
        fragment<matrix_b, 16, 16, 8, precision::tf32, row_major> fb;
        fragment<accumulator, 16, 16, 8, float> fc;
        fill_fragment(fc, 0.0f);
        load_matrix_sync(fa, p, 8);
        load_matrix_sync(fb, q, 16);
        for (int i = 0; i < fa.num_elements; ++i) fa.x[i] = __float_to_tf32(fa.x[i]);
        for (int i = 0; i < fb.num_elements; ++i) fb.x[i] = __float_to_tf32(fb.x[i]);
        mma_sync(fc, fa, fb, fc);
        store_matrix_sync(t, fc, 16, mem_row_major);
      }
      {
        fragment<matrix_a, 8, 8, 4, double, row_major> fa;
        fragment<matrix_b, 8, 8, 4, double, row_major> fb;
        fragment<accumulator, 8, 8, 4, double> fc;
        fill_fragment(fc, 1.0);
        load_matrix_sync(fa, x, 4);
        load_matrix_sync(fb, y, 8);
        mma_sync(fc, fa, fb, fc);
        store_matrix_sync(z, fc, 8, mem_row_major);
      }
    }"""
    a, b = (rng.standard_normal((16, 16)).astype(np.float32) for _ in range(2))
    a, b = ((v.view(np.uint32) >> 16).astype(np.uint16) for v in (a, b))
    p, q = rng.standard_normal((16, 8)).astype(np.float32), rng.standard_normal((8, 16)).astype(np.float32)
    x, y = rng.standard_normal((8, 4)), rng.standard_normal((4, 8))
    tensors = {"a": a, "b": b, "p": p, "q": q, "x": x, "y": y, "d": np.zeros((16, 16), np.float32),
               "t": np.zeros((16, 16), np.float32), "z": np.zeros((8, 8))}  # fmt: skip
    out = compute(text, tensors, ["d", "t", "z"]).outputs
    wide = [(v.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for v in (a, b)]
    np.testing.assert_allclose(out["d"], wide[0] @ wide[1], rtol=1e-5, atol=1e-5)
    # tf32 keeps 10 bits of the significand: an error of 2^-11 a factor, and not none.
    np.testing.assert_allclose(out["t"], p.astype(np.float64) @ q, atol=8 * 4 * 2**-10)
    assert np.abs(out["t"] - p @ q).max() > 1e-5
    np.testing.assert_allclose(out["z"], x @ y + 1, atol=1e-14)


GEMM = """#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void k(const half* a, const half* b, float* d) {
  __shared__ alignas(32) half sa[2][16][16], sb[2][16][16];
  __shared__ alignas(32) float sd[2][16][16];
  int t = threadIdx.x, w = t / 32, lane = t % 32;
  fragment<accumulator, 16, 16, 16, float> sum;
  fill_fragment(sum, 0.0f);
  for (int k0 = 0; k0 < 64; k0 += 16) {
    for (int i = lane; i < 256; i += 32) {
      sa[w][i / 16][i % 16] = a[(w * 16 + i / 16) * 64 + k0 + i % 16];
      sb[w][i / 16][i % 16] = b[(k0 + i / 16) * 16 + i % 16];
    }
    __syncwarp();  // loaded
    fragment<matrix_a, 16, 16, 16, half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, half, row_major> fb;
    load_matrix_sync(fa, &sa[w][0][0], 16);
    load_matrix_sync(fb, &sb[w][0][0], 16);
    mma_sync(sum, fa, fb, sum);
    __syncwarp();  // used
  }
  store_matrix_sync(&sd[w][0][0], sum, 16, mem_row_major);
  __syncwarp();  // stored
  for (int i = lane; i < 256; i += 32) d[w * 256 + i] = sd[w][i / 16][i % 16];
}"""


def gemm_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(-1, 1, (32, 64)).astype(np.float16), rng.uniform(-1, 1, (64, 16)).astype(np.float16)
    return {"a": a, "b": b, "d": np.zeros((32, 16), np.float32)}


def test_fragments_through_shared_memory() -> None:
    tensors = gemm_tensors()
    out = compute(GEMM, tensors, ["d"], block=(64,)).outputs["d"]
    np.testing.assert_allclose(out, tensors["a"].astype(float) @ tensors["b"].astype(float), atol=1e-5)


@pytest.mark.parametrize("step", ["loaded", "used", "stored"])
def test_a_matrix_load_or_store_is_no_barrier(step: str) -> None:
    text = GEMM.replace(f"__syncwarp();  // {step}", "")
    result = run(text, gemm_tensors(), ["d"], block=(64,), sanitize=True)
    assert "race_shared" in kinds(result)


def test_part_of_a_warp_and_misaligned_matrices_are_found() -> None:
    result = run(GEMM, gemm_tensors(), ["d"], block=(48,), sanitize=True)
    assert "warp_divergence" in kinds(result)
    shifted = GEMM.replace("&sa[w][0][0], 16)", "&sa[w][0][0] + 8, 16)").replace(
        "sa[2][16][16]", "sa[2][17][16]"
    )
    found = only(run(shifted, gemm_tensors(), ["d"], block=(64,), sanitize=True), "misaligned")
    assert "wmma matrix" in found.message and "32" in found.message
