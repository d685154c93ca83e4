"""Numbers: half and bfloat16 correctly rounded, intrinsics, atomics, vector types."""

from fractions import Fraction

import numpy as np
import pytest

from tests.emulator.emulate import compute

ALL_BITS = np.arange(65536, dtype=np.uint16)
HALF = '#include <cuda_fp16.h>\nextern "C" __global__ void k('


def same_or_nan(actual: np.ndarray, expected: np.ndarray) -> None:
    both_nan = np.isnan(actual) & np.isnan(expected)
    bits = f"u{actual.dtype.itemsize}"
    np.testing.assert_array_equal(actual.view(bits)[~both_nan], expected.view(bits)[~both_nan])


def interesting_floats() -> np.ndarray:
    """Every half, its neighbours in float, and the midpoints between halves: where rounding is decided."""
    halves = ALL_BITS.view(np.float16)
    halves = halves[np.isfinite(halves)]
    mid = (halves[:-1].astype(np.float32) + halves[1:].astype(np.float32)) / 2
    mid = np.concatenate(
        [mid, np.array([65519.996, 65520, 65520.004, 1e30, np.inf, 0, -0.0, 2e-8, 3e-8], np.float32)]
    )
    around = np.concatenate(
        [mid, np.nextafter(mid, np.float32(np.inf)), np.nextafter(mid, np.float32(-np.inf))]
    )
    return np.concatenate([around, -around]).astype(np.float32)


def test_conversions_to_and_from_half() -> None:
    x = interesting_floats()
    x = np.concatenate([x, np.zeros(-x.size % 256, np.float32)])
    text = (
        HALF
        + """const half* h, float* wide, const float* x, half* rn, half* rz, half* rd, half* ru,
                     int nh, int nx) {
      int i = blockIdx.x * 256 + threadIdx.x;
      if (i < nh) wide[i] = __half2float(h[i]);
      if (i < nx) {
        rn[i] = __float2half_rn(x[i]);
        rz[i] = __float2half_rz(x[i]);
        rd[i] = __float2half_rd(x[i]);
        ru[i] = __float2half_ru(x[i]);
      }
    }"""
    )
    empty = np.zeros(x.size, np.float16)
    tensors = {"h": ALL_BITS.view(np.float16), "wide": np.zeros(65536, np.float32), "x": x,
               "rn": empty, "rz": empty, "rd": empty, "ru": empty}  # fmt: skip
    out = compute(text, tensors, ["wide", "rn", "rz", "rd", "ru"], grid=(x.size // 256,), block=(256,),
                  scalars={"nh": 65536, "nx": x.size}).outputs  # fmt: skip
    same_or_nan(out["wide"], ALL_BITS.view(np.float16).astype(np.float32))
    with np.errstate(over="ignore"):
        nearest = x.astype(np.float16)
    same_or_nan(out["rn"], nearest)
    wide = {name: out[name].astype(np.float32) for name in ("rz", "rd", "ru")}
    finite = np.isfinite(x)
    assert (wide["rd"][finite] <= x[finite]).all() and (wide["ru"][finite] >= x[finite]).all()
    assert (np.abs(wide["rz"][finite]) <= np.abs(x[finite])).all()
    exact = nearest.astype(np.float32) == x
    between = finite & ~exact & (np.abs(x) < 65504)
    gap = np.nextafter(out["rd"][between], np.float16(np.inf))
    same_or_nan(gap + np.float16(0), out["ru"][between] + np.float16(0))  # neighbours, whatever zero's sign


OPS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def test_half_arithmetic_is_correctly_rounded() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 65536, 65536).astype(np.uint16).view(np.float16) for _ in range(2))
    text = (
        HALF
        + """const half* a, const half* b, half* add, half* sub, half* mul, half* div, half* root,
                     half* pair, int* less) {
      int i = blockIdx.x * 256 + threadIdx.x;
      add[i] = __hadd(a[i], b[i]);
      sub[i] = a[i] - b[i];
      mul[i] = a[i] * b[i];
      half q = a[i];
      q /= b[i];
      div[i] = q;
      root[i] = hsqrt(a[i]);
      half2 p = __hmul2(__halves2half2(a[i], b[i]), __half2half2(b[i]));
      pair[i] = __low2half(p);
      less[i] = (a[i] < b[i]) + 2 * __heq(a[i], b[i]) + 4 * __hltu(a[i], b[i]) + 8 * __hisnan(a[i]);
    }"""
    )
    empty = np.zeros(65536, np.float16)
    names = ["add", "sub", "mul", "div", "root", "pair"]
    tensors = {"a": a, "b": b, **dict.fromkeys(names, empty), "less": np.zeros(65536, np.int32)}
    out = compute(text, tensors, [*names, "less"], grid=(256,), block=(256,)).outputs
    with np.errstate(all="ignore"):
        for name, op in OPS.items():
            same_or_nan(out[name], op(a, b))
        same_or_nan(out["root"], np.sqrt(a))
        same_or_nan(out["pair"], a * b)
        nan = np.isnan(a) | np.isnan(b)
        expected = (a < b) + 2 * (a == b) + 4 * ((a < b) | nan) + 8 * np.isnan(a)
    np.testing.assert_array_equal(out["less"], expected)


def round_half(x: Fraction) -> float:
    """The nearest half of a rational, ties to even; independent of any floating-point step."""
    if x == 0:
        return 0.0
    sign, x = (-1, -x) if x < 0 else (1, x)
    exponent = max(x.numerator.bit_length() - x.denominator.bit_length(), -14)
    while exponent > -14 and x < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 10)
    return sign * float(round(x / unit) * unit)  # Fraction rounds half to even


def test_half_fma_rounds_once() -> None:
    rng = np.random.default_rng(1)
    exponents = rng.integers(-14, 8, (3, 600))
    values = (
        (1 + rng.integers(0, 1024, (3, 600)) / 1024) * 2.0**exponents * rng.choice([-1, 1], (3, 600))
    ).astype(np.float16)
    # Products just beside the midpoint of two halves, with an addend far below: a sum rounded twice
    # (to float, then to half) takes the tie and goes the wrong way.
    hard = np.array(
        [[1 + 1 / 1024, 1 + 1 / 32, 1 + 3 / 1024], [1 + 1 / 2, 1 + 1 / 64, 1.5], [2**-24, -(2**-24), 2**-24]],
        np.float16,
    )
    a, b, c = np.concatenate([values, hard, -hard], axis=1)
    pad = -a.size % 64
    a, b, c = (np.concatenate([v, np.ones(pad, np.float16)]) for v in (a, b, c))
    text = (
        HALF
        + """const half* a, const half* b, const half* c, half* d, half* relu) {
      int i = blockIdx.x * 64 + threadIdx.x;
      d[i] = __hfma(a[i], b[i], c[i]);
      half2 p = __hfma2_relu(__half2half2(a[i]), __half2half2(b[i]), __half2half2(c[i]));
      relu[i] = p.y;
    }"""
    )
    empty = np.zeros(a.size, np.float16)
    tensors = {"a": a, "b": b, "c": c, "d": empty, "relu": empty}
    out = compute(text, tensors, ["d", "relu"], grid=(a.size // 64,), block=(64,)).outputs
    exact = [
        Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)
    ]
    expected = np.array([round_half(x) for x in exact], np.float64)
    expected = np.where(np.abs(expected) >= 65520, np.inf * np.sign(expected), expected).astype(np.float16)
    np.testing.assert_array_equal(out["d"], expected)
    np.testing.assert_array_equal(out["relu"], np.maximum(expected, 0))


def to_bfloat(x: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16 of finite floats, ties to even: half a unit added, one less on even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def test_bfloat16() -> None:
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal(4096).astype(np.float32) * 2.0 ** rng.integers(-30, 30, 4096) for _ in "xy")
    x, y = x.astype(np.float32), y.astype(np.float32)
    text = """#include <cuda_bf16.h>
    extern "C" __global__ void k(const float* x, const float* y, unsigned short* c, unsigned short* sum,
                                 unsigned short* product) {
      int i = blockIdx.x * 256 + threadIdx.x;
      __nv_bfloat16 a = __float2bfloat16(x[i]), b = __float2bfloat16_rn(y[i]);
      c[i] = __bfloat16_as_ushort(a);
      sum[i] = __bfloat16_as_ushort(a + b);
      __nv_bfloat162 p = __hmul2(__halves2bfloat162(a, b), __bfloat162bfloat162(b));
      product[i] = __bfloat16_as_ushort(__low2bfloat16(p));
    }"""
    empty = np.zeros(4096, np.uint16)
    tensors = {"x": x, "y": y, "c": empty, "sum": empty, "product": empty}
    out = compute(text, tensors, ["c", "sum", "product"], grid=(16,), block=(256,)).outputs
    np.testing.assert_array_equal(out["c"], to_bfloat(x))
    a, b = ((to_bfloat(v).astype(np.uint32) << 16).view(np.float32).astype(np.float64) for v in (x, y))
    # A sum or product of two values of 8 bits, rounded to 24 and then to 8, is rounded right (see README).
    np.testing.assert_array_equal(out["sum"], to_bfloat((a + b).astype(np.float32)))
    np.testing.assert_array_equal(out["product"], to_bfloat((a * b).astype(np.float32)))


def test_integer_intrinsics() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-(2**31), 2**31, 256).astype(np.int32) for _ in range(2))
    a[:4] = [0, -1, 1, -(2**31)]
    text = """extern "C" __global__ void k(const int* a, const int* b, int* c) {
      int t = threadIdx.x, x = a[t], y = b[t], i = 0;
      c[256 * i++ + t] = __popc(x);
      c[256 * i++ + t] = __clz(x);
      c[256 * i++ + t] = __ffs(x);
      c[256 * i++ + t] = (int)__brev(x);
      c[256 * i++ + t] = __dp4a(x, y, 7);
      c[256 * i++ + t] = (int)__dp4a((unsigned)x, (unsigned)y, 7u);
      c[256 * i++ + t] = (int)__byte_perm(x, y, 0x7531);
      c[256 * i++ + t] = (int)__funnelshift_l(x, y, 5);
      c[256 * i++ + t] = __mulhi(x, y);
      c[256 * i++ + t] = (int)__umulhi(x, y);
      c[256 * i++ + t] = min(x, y) ^ max(3, y);
    }"""
    out = compute(text, {"a": a, "b": b, "c": np.zeros((11, 256), np.int32)}, ["c"], block=(256,)).outputs[
        "c"
    ]
    ua, ub = a.view(np.uint32), b.view(np.uint32)
    texts = [f"{x:032b}" for x in ua]
    bytes_a, bytes_b = (
        a.view(np.int8).reshape(-1, 4).astype(np.int64),
        b.view(np.int8).reshape(-1, 4).astype(np.int64),
    )
    raw = np.concatenate([ua[:, None].view(np.uint8), ub[:, None].view(np.uint8)], axis=1)
    expected = [
        [s.count("1") for s in texts], [32 if "1" not in s else s.index("1") for s in texts],
        [0 if "1" not in s else s[::-1].index("1") + 1 for s in texts], [int(s[::-1], 2) for s in texts],
        (bytes_a * bytes_b).sum(1) + 7, ((bytes_a & 255) * (bytes_b & 255)).sum(1) + 7,
        np.ascontiguousarray(raw[:, [1, 3, 5, 7]]).view(np.uint32)[:, 0],
        ((ub.astype(object) << 32 | ua) << 5 >> 32) & 0xFFFFFFFF,
        a.astype(np.int64) * b >> 32, ua.astype(np.uint64) * ub >> np.uint64(32),
        np.minimum(a, b) ^ np.maximum(3, b),
    ]  # fmt: skip
    for row, wanted in zip(out, expected, strict=True):
        np.testing.assert_array_equal(
            row.view(np.uint32), np.array(wanted, object).astype(np.int64) & 0xFFFFFFFF
        )


def test_float_intrinsics() -> None:
    x = np.array([0.5, 1.5, 2.5, -2.5, 1e20, -1e20, np.nan, 0.0] * 4, np.float32)
    text = """#include <math_constants.h>
    extern "C" __global__ void k(const float* x, int* c, float* f) {
      int t = threadIdx.x, i = 0;
      c[32 * i++ + t] = __float2int_rn(x[t]);
      c[32 * i++ + t] = __float2int_rz(x[t]);
      c[32 * i++ + t] = __float2int_ru(x[t]);
      c[32 * i++ + t] = __float_as_int(x[t]);
      i = 0;
      f[32 * i++ + t] = __fmaf_rn(16777217.0f, 16777219.0f, -281474976710656.0f);
      f[32 * i++ + t] = __expf(1.0f) + __logf(CUDART_PI_F) + rsqrtf(4.0f) + __saturatef(x[t]);
      f[32 * i++ + t] = max(x[t], 1.0f) + min(2.0f, x[t]);
      f[32 * i++ + t] = __ldg(&x[0]) + __int_as_float(0x3f800000);
    }"""
    out = compute(
        text, {"x": x, "c": np.zeros((4, 32), np.int32), "f": np.zeros((4, 32), np.float32)}, ["c", "f"]
    ).outputs
    assert out["c"][0, :8].tolist() == [0, 2, 2, -2, 2**31 - 1, -(2**31), 0, 0]
    assert out["c"][1, :8].tolist() == [0, 1, 2, -2, 2**31 - 1, -(2**31), 0, 0]
    assert out["c"][2, :8].tolist() == [1, 2, 3, -2, 2**31 - 1, -(2**31), 0, 0]
    np.testing.assert_array_equal(out["c"][3], x.view(np.int32))
    # 16777217 is no float: the factors are 2^24 and 2^24 + 4 (ties to even), their product exact in the fma.
    np.testing.assert_array_equal(out["f"][0], np.float32(4 * 2**24))
    clamped = np.nan_to_num(np.clip(x, 0, 1))
    np.testing.assert_allclose(out["f"][1], np.exp(1) + np.log(np.pi) + 0.5 + clamped, rtol=1e-6)
    np.testing.assert_array_equal(out["f"][2], np.fmax(x, np.float32(1)) + np.fmin(np.float32(2), x))
    np.testing.assert_array_equal(out["f"][3], np.float32(1.5))


ATOMICS = [
    ("int", "atomicAdd(c, v)", lambda v: v.sum()),
    ("int", "atomicSub(c, v)", lambda v: -v.sum()),
    ("int", "atomicMin(c, v)", lambda v: v.min()),
    ("int", "atomicMax(c, v)", lambda v: v.max()),
    ("int", "atomicExch(c, 5)", lambda v: 5),
    ("unsigned", "atomicOr(c, 1u << (v & 31))", lambda v: 2**32 - 1),
    ("unsigned", "atomicXor(c, (unsigned)v)", lambda v: np.bitwise_xor.reduce(v) % 2**32),
    ("unsigned", "atomicInc(c, 9u)", lambda v: 64 % 10),
    ("unsigned", "atomicDec(c, 9u)", lambda v: 10 - 64 % 10),
    ("float", "atomicAdd(c, 0.5f * v)", lambda v: 0.5 * v.sum()),
    ("double", "atomicAdd(c, 0.5 * v)", lambda v: 0.5 * v.sum()),
    ("unsigned long long", "atomicAdd(c, 1ull << 33)", lambda v: 64 * 2**33),
    (
        "int",
        "int old = atomicAdd(c, 0), seen; "
        "do { seen = old; old = atomicCAS(c, seen, seen + 2 * v); } while (old != seen)",
        lambda v: 2 * v.sum(),
    ),
]
NUMPY = {"int": np.int32, "unsigned": np.uint32, "float": np.float32, "double": np.float64}


def test_atomics() -> None:
    # One block an operation; every thread of it applies the operation to one cell in a workspace of zeros.
    v = np.arange(-20, 44)
    cells, bodies, results, tensors = [], [], [], {}
    for i, (kind, body, _) in enumerate(ATOMICS):
        cells.append(f"{kind}* w{i}")
        bodies.append(
            f"if (blockIdx.x == {i}) {{ auto* c = w{i}; {body}; __syncthreads(); "
            f"if (v == 0) c{i}[0] = *w{i}; }}"
        )
        results.append(f"{kind}* c{i}")
        tensors[f"c{i}"] = np.zeros(1, NUMPY.get(kind, np.uint64))
    text = f"""extern "C" __global__ void k({", ".join(results + cells)}) {{
      int v = (int)threadIdx.x - 20;
      {chr(10).join(bodies)}
    }}"""
    workspace = {f"w{i}": 8 for i in range(len(ATOMICS))}
    out = compute(
        text, tensors, list(tensors), grid=(len(ATOMICS),), block=(64,), workspace=workspace
    ).outputs
    for i, (_, body, expected) in enumerate(ATOMICS):
        assert out[f"c{i}"][0] == expected(v), body


@pytest.mark.parametrize("kind", ["half", "half2"])
def test_half_atomics_and_results(kind: str) -> None:
    zero = "__float2half(0.0f)" if kind == "half" else "__float2half2_rn(0.0f)"
    one = "__float2half(0.25f)" if kind == "half" else "__floats2half2_rn(0.25f, 0.5f)"
    text = (
        HALF
        + f"""{kind}* c) {{
      if (threadIdx.x == 0) c[0] = {zero};
      __syncthreads();
      atomicAdd(&c[0], {one});
    }}"""
    )
    size = 1 if kind == "half" else 2
    out = compute(text, {"c": np.zeros(size, np.float16)}, ["c"], block=(96,)).outputs["c"]
    np.testing.assert_array_equal(out, [24, 48][:size])


def test_vector_types_have_cudas_sizes_and_alignments() -> None:
    wanted = {
        "float2": (8, 8), "float3": (12, 4), "float4": (16, 16), "double2": (16, 16), "int2": (8, 8),
        "int4": (16, 16), "uint2": (8, 8), "uint4": (16, 16), "short4": (8, 8), "ushort2": (4, 4),
        "char4": (4, 4), "uchar4": (4, 4), "char3": (3, 1), "longlong2": (16, 16), "ulonglong2": (16, 16),
        "__half2": (4, 4), "__nv_bfloat162": (4, 4), "dim3": (12, 4),
    }  # fmt: skip
    checks = "".join(
        f'static_assert(sizeof({t}) == {s} && alignof({t}) == {a}, "{t}");\n' for t, (s, a) in wanted.items()
    )
    text = f"""#include <cuda_fp16.h>
    #include <cuda_bf16.h>
    {checks}
    extern "C" __global__ void k(const float4* a, float2* c) {{
      float4 v = a[threadIdx.x];
      uint4 u = make_uint4(1, 2, 3, 4);
      c[threadIdx.x] = make_float2(v.x + v.w, v.y * v.z + u.w);
    }}"""
    a = np.arange(128, dtype=np.float32)
    out = compute(text, {"a": a, "c": np.zeros(64, np.float32)}, ["c"]).outputs["c"].reshape(32, 2)
    x, y, z, w = a.reshape(32, 4).T
    np.testing.assert_array_equal(out, np.stack([x + w, y * z + 4], axis=1))
