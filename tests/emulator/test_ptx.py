"""Inline PTX: matrices in registers, asynchronous copies, barriers by number, the smaller instructions."""

import numpy as np
import pytest

from tests.emulator.emulate import bug_line, compute, kinds, only, run
from tuner.core.errors import BuildError

WINDOW = "__device__ unsigned window(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }\n"
LDMATRIX = (
    WINDOW
    + """extern "C" __global__ void k(const unsigned short* a, unsigned* out) {
  __shared__ alignas(16) unsigned short s[32 * 8];
  for (int i = threadIdx.x; i < 32 * 8; i += 32) s[i] = a[i];
  __syncwarp();
  unsigned r[COUNT];
  asm volatile("ldmatrix.sync.aligned.m8n8.xCOUNT.TRANSshared.b16 {REGS}, [%COUNT];"
               : OUTS : "r"(window(&s[(threadIdx.x % ROWS) * 8])));
  for (int i = 0; i < COUNT; ++i) out[i * 32 + threadIdx.x] = r[i];
}"""
)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(count: int, transposed: bool) -> None:
    text = LDMATRIX.replace("ROWS", str(8 * count)).replace("REGS", ", ".join(f"%{i}" for i in range(count)))
    text = text.replace("OUTS", ", ".join(f'"=r"(r[{i}])' for i in range(count)))
    text = text.replace("COUNT", str(count)).replace("TRANS", "trans." if transposed else "")
    a = np.arange(256, dtype=np.uint16)
    out = compute(text, {"a": a, "out": np.zeros(32 * count, np.uint32)}, ["out"]).outputs["out"]
    matrices = a.reshape(4, 8, 8)[:count]
    if transposed:
        matrices = matrices.transpose(0, 2, 1)
    # PTX ISA, ldmatrix: thread 4 * row + column / 2 holds two neighbours of a row, the first in the low half.
    expected = matrices.reshape(count, 32, 2)
    expected = expected[..., 0].astype(np.uint32) | expected[..., 1].astype(np.uint32) << 16
    np.testing.assert_array_equal(out, expected.ravel())


def test_stmatrix_is_the_inverse_of_ldmatrix() -> None:
    text = (
        WINDOW
        + """extern "C" __global__ void k(const unsigned short* a, unsigned short* out) {
  __shared__ alignas(16) unsigned short s[256], t[256];
  for (int i = threadIdx.x; i < 256; i += 32) s[i] = a[i];
  __syncwarp();
  unsigned r0, r1, r2, r3;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3) : "r"(window(&s[threadIdx.x * 8])));
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
               :: "r"(window(&t[threadIdx.x * 8])), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
  __syncwarp();
  for (int i = threadIdx.x; i < 256; i += 32) out[i] = t[i];
}"""
    )
    a = np.arange(256, dtype=np.uint16)
    out = compute(text, {"a": a, "out": np.zeros_like(a)}, ["out"]).outputs["out"]
    np.testing.assert_array_equal(out, a)


# PTX ISA, "Matrix Fragments for mma...": rows and columns of A, B and C as the tables there give them,
# written out here once more and apart from the emulator's formula.
def fragment_a(bits: int, m: int, k: int) -> list[list[tuple[int, int]]]:
    per = 32 // bits
    lanes = []
    for lane in range(32):
        g, t = lane >> 2, lane & 3
        cells = []
        for i in range(m * k // 32):
            if bits == 16:
                row = g if i < 2 or 4 <= i < 6 else g + 8
                column = t * 2 + (i & 1) + (8 if i >= 4 else 0)
            elif bits == 8 and m == 16:
                row = g if i < 4 or 8 <= i < 12 else g + 8
                column = t * 4 + (i & 3) + (16 if i >= 8 else 0)
            elif bits == 8:
                row, column = g, t * 4 + i
            else:
                row, column = g + 8 * (i & 1), t + 4 * (i >> 1)
            cells.append((row, column))
        assert len(cells) % per == 0
        lanes.append(cells)
    return lanes


def fragment_b(bits: int, k: int) -> list[list[tuple[int, int]]]:
    per = 32 // bits
    return [[((lane & 3) * per + i % per + i // per * 4 * per, lane >> 2) for i in range(k // 4)]
            for lane in range(32)]  # fmt: skip


def fragment_c(m: int) -> list[list[tuple[int, int]]]:
    return [[((lane >> 2) + (8 if i >= 2 else 0), (lane & 3) * 2 + (i & 1)) for i in range(m // 4)]
            for lane in range(32)]  # fmt: skip


def packed(matrix: np.ndarray, cells: list[list[tuple[int, int]]]) -> np.ndarray:
    return np.stack([np.array([matrix[cell] for cell in lane]) for lane in cells])


def bfloat(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


SHAPES = [
    ("f16", "f32", 16, 8), ("f16", "f32", 16, 16), ("f16", "f16", 16, 16), ("bf16", "f32", 16, 16),
    ("bf16", "f32", 16, 8), ("tf32", "f32", 16, 8), ("tf32", "f32", 16, 4), ("s8", "s32", 16, 32),
    ("s8", "s32", 16, 16), ("u8", "s32", 8, 16), ("e4m3", "f32", 16, 32), ("e5m2", "f32", 16, 32),
]  # fmt: skip
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "s8": 8, "u8": 8, "e4m3": 8, "e5m2": 8}


def numbers(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values, and their bits as the registers hold them."""
    if kind in ("s8", "u8"):
        dtype = np.int8 if kind == "s8" else np.uint8
        info = np.iinfo(dtype)
        bits = rng.integers(info.min, info.max + 1, shape).astype(dtype)
        return bits.astype(np.int64), bits
    # Small integers over eight: exact in every one of these formats.
    values = rng.integers(-7, 8, shape) / 8
    if kind == "f16":
        return values, values.astype(np.float16)
    if kind == "bf16":
        return values, bfloat(values)
    if kind == "tf32":
        return values, values.astype(np.float32)
    halves = values.astype(np.float16).view(np.uint16)
    if kind == "e5m2":
        values = np.sign(values) * 0.25
        return values, (values.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    sign, exponent, rest = halves >> 15, (halves >> 10 & 31).astype(int), halves >> 7 & 7
    e4m3 = np.where(values == 0, 0, (exponent - 15 + 7) << 3 | rest) | sign << 7
    return values, e4m3.astype(np.uint8)


@pytest.mark.parametrize(("kind", "total", "m", "k"), SHAPES, ids=lambda v: str(v))
@pytest.mark.sampled(6)
def test_mma_has_the_fragments_of_the_isa(kind: str, total: str, m: int, k: int) -> None:
    rng = np.random.default_rng(k)
    a, a_bits = numbers(kind, (m, k), rng)
    b, b_bits = numbers(kind, (k, 8), rng)
    c = rng.integers(-20, 20, (m, 8)).astype(np.float64)
    sums = {"f32": np.float32, "f16": np.float16, "s32": np.int32}[total]
    lanes_a = packed(a_bits, fragment_a(BITS[kind], m, k)).reshape(32, -1)
    lanes_b = packed(b_bits, fragment_b(BITS[kind], k)).reshape(32, -1)
    lanes_c = packed(c.astype(sums), fragment_c(m)).reshape(32, -1)
    words = {
        x: np.ascontiguousarray(v).view(np.uint32)
        for x, v in (("a", lanes_a), ("b", lanes_b), ("c", lanes_c))
    }
    counts = [words[x].shape[1] for x in "cabc"]
    names = iter(range(sum(counts)))
    operands = ", ".join("{" + ", ".join(f"%{next(names)}" for _ in range(n)) + "}" for n in counts)
    letter = "f" if total == "f32" else "r"
    word = "float" if total == "f32" else "unsigned"
    inputs = [f'"r"({x}[lane * {words[x].shape[1]} + {i}])' for x in "ab" for i in range(words[x].shape[1])]
    inputs += [f'"{letter}"((({word}*)c)[lane * {counts[0]} + {i}])' for i in range(counts[0])]
    outputs = ", ".join(f'"={letter}"((({word}*)d)[lane * {counts[0]} + {i}])' for i in range(counts[0]))
    text = f"""typedef const unsigned* In;
    extern "C" __global__ void k(In a, In b, In c, unsigned* d) {{
      const int lane = threadIdx.x;
      asm("mma.sync.aligned.m{m}n8k{k}.row.col.{total}.{kind}.{kind}.{total} "
          "{operands};\\n" : {outputs} : {", ".join(inputs)});
    }}"""
    result = compute(text, {**words, "d": np.zeros_like(words["c"])}, ["d"]).outputs["d"].view(sums)
    expected = packed(a @ b + c, fragment_c(m)).reshape(32, -1)
    np.testing.assert_array_equal(result.astype(np.float64), expected)


CP_ASYNC = (
    WINDOW
    + """#define CP_ASYNC(dst, src, bytes) \\
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], %2, %3;\\n" \\
               ::"r"(dst), "l"(src), "n"(16), "r"(bytes))
#define COMMIT() asm volatile("cp.async.commit_group;\\n" ::)
#define WAIT(n) asm volatile("cp.async.wait_group %0;\\n" ::"n"(n))
extern "C" __global__ void k(const float* a, float* out, int n) {
  __shared__ alignas(16) float s[128];
  const int left = n - 4 * (int)threadIdx.x, bytes = left < 0 ? 0 : left > 4 ? 16 : 4 * left;
  CP_ASYNC(window(s + 4 * threadIdx.x), a + 4 * threadIdx.x, bytes);
  COMMIT();
  WAIT(0);
  __syncthreads();  // BARRIER
  for (int i = threadIdx.x; i < 128; i += 32) out[i] = s[127 - i];
}"""
)


def test_cp_async_fills_with_zeros_and_is_watched() -> None:
    a = np.arange(70, dtype=np.float32)
    tensors = {"a": a, "out": np.zeros(128, np.float32)}
    out = compute(CP_ASYNC, tensors, ["out"], scalars={"n": 70}).outputs["out"]
    np.testing.assert_array_equal(out[::-1], np.concatenate([a, np.zeros(58, np.float32)]))
    early = CP_ASYNC.replace("  WAIT(0);\n", "")
    assert "race_shared" in kinds(run(early, tensors, ["out"], scalars={"n": 70}, sanitize=True))
    unordered = CP_ASYNC.replace("__syncthreads();  // BARRIER", "")
    assert "race_shared" in kinds(run(unordered, tensors, ["out"], scalars={"n": 70}, sanitize=True))


def test_ldmatrix_is_watched_like_any_access() -> None:
    text = (
        WINDOW
        + """extern "C" __global__ void k(unsigned* out, int by, int past) {
  __shared__ alignas(16) unsigned short s[32 * 8];
  for (int i = threadIdx.x; i < 256; i += 32) s[i] = i;
  SYNC
  unsigned r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"  // BUG
               : "=r"(r) : "r"(window(&s[threadIdx.x % 8 * 8 + past]) + by));
  out[threadIdx.x] = r;
}"""
    )
    tensors = {"out": np.zeros(32, np.uint32)}

    def found(sync: str, by: int, past: int) -> set[str]:
        result = run(
            text.replace("SYNC", sync), tensors, ["out"], scalars={"by": by, "past": past}, sanitize=True
        )
        assert all(f.place.line in (bug_line(text), bug_line(text) + 1) for f in result.findings)
        return kinds(result)

    assert found("__syncwarp();", 0, 0) == set()
    assert found("", 0, 0) == {"race_shared"}
    assert found("__syncwarp();", 2, 0) == {"misaligned"}
    assert found("__syncwarp();", 0, 200) == {"out_of_bounds_shared"}


BARRIERS = """extern "C" __global__ void k(float* out) {
  __shared__ float s[64];
  // The first two warps fill, the others read: each side waits only for what it needs.
  if (threadIdx.x < 64) {
    s[threadIdx.x] = threadIdx.x;
    asm volatile("bar.arrive 1, 128;" ::: "memory");
  } else {
    asm volatile("bar.sync %0, %1;" :: "r"(1), "n"(128) : "memory");
    out[threadIdx.x - 64] = s[127 - threadIdx.x];
  }
}"""


def test_barriers_by_number() -> None:
    tensors = {"out": np.zeros(64, np.float32)}
    out = compute(BARRIERS, tensors, ["out"], block=(128,)).outputs["out"]
    np.testing.assert_array_equal(out, np.arange(64, dtype=np.float32)[::-1])
    other = BARRIERS.replace("bar.arrive 1", "bar.arrive 2")
    assert "deadlock" in kinds(run(other, tensors, ["out"], block=(128,), sanitize=True))
    none = BARRIERS.replace("    s[threadIdx.x] = threadIdx.x;\n", "").replace(
        'memory");\n  } else', 'memory");\n    s[threadIdx.x] = threadIdx.x;\n  } else'
    )
    assert kinds(run(none, tensors, ["out"], block=(128,), sanitize=True, seed=3)) & {
        "race_shared", "uninitialized_shared"}  # fmt: skip
    uneven = BARRIERS.replace("128;", "100;").replace("(128)", "(100)")
    assert (
        "multiple of 32"
        in only(run(uneven, tensors, ["out"], block=(128,), sanitize=True), "barrier_divergence").message
    )


MANY = """extern "C" __global__ void k(const TYPE* x, TYPE* y) {
  const int i = threadIdx.x;
  const TYPE a = x[i], b = x[(i + 1) % 32], c = x[(i + 5) % 32];
  TYPE d;
  CODES
}"""
U = np.random.default_rng(1).integers(0, 2**32, 32, dtype=np.uint32)
V, W = np.roll(U, -1), np.roll(U, -5)
F = np.linspace(-3, 3, 32, dtype=np.float32)
G, H = np.roll(F, -1), np.roll(F, -5)


def lop(table: int) -> np.ndarray:
    rows = [
        (U if r & 4 else ~U) & (V if r & 2 else ~V) & (W if r & 1 else ~W) for r in range(8) if table >> r & 1
    ]
    return np.bitwise_or.reduce(rows)


INTEGER = {
    'asm("lop3.b32 %0, %1, %2, %3, 0xE8;" : "=r"(d) : "r"(a), "r"(b), "r"(c));': lop(0xE8),
    'asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(0x6A));': lop(0x6A),
    'asm("prmt.b32 %0, %1, %2, 0x5410;" : "=r"(d) : "r"(a), "r"(b));': (U & 0xFFFF) | V << 16,
    'asm("{\\n\\t.reg .pred p;\\n\\tsetp.lt.u32 p, %1, %2;\\n\\t@p mov.b32 %0, %1;\\n\\t@!p mov.b32 %0, %2;}"'
    ' : "=r"(d) : "r"(a), "r"(b));': np.minimum(U, V),
    'asm("{ .reg .u64 t; mul.wide.u32 t, %1, %2; mov.b64 {_, %0}, t; }" : "=r"(d) : "r"(a), "r"(b));': (
        (U.astype(np.uint64) * V) >> 32).astype(np.uint32),
    'asm("{ .reg .u32 r<3>; shl.b32 r0, %1, 3; shr.u32 r1, %1, 29; or.b32 r2, r0, r1; mov.u32 %0, r2; }"'
    ' : "=r"(d) : "r"(a));': U << 3 | U >> 29,
    'asm("mov.u32 %0, %%laneid;" : "=r"(d));': np.arange(32, dtype=np.uint32),
    'asm volatile("mov.u32 %0, %tid.x;" : "=r"(d));': np.arange(32, dtype=np.uint32),
    'd = a; asm("add.u32 %0, %0, %1;" : "+r"(d) : "r"(b));': U + V,
    'asm("shfl.sync.bfly.b32 %0, %1, 1, 0x1f, 0xffffffff;" : "=r"(d) : "r"(a));': U[np.arange(32) ^ 1],
    'asm("bfe.u32 %0, %1, 4, 9;" : "=r"(d) : "r"(a));': U >> 4 & 0x1FF,
    'asm("bfi.b32 %0, %1, %2, 4, 9;" : "=r"(d) : "r"(a), "r"(b));': (V & 0xFFFFE00F) | (U & 0x1FF) << 4,
}  # fmt: skip
REAL = {
    'asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(a));': np.exp2(F),
    'asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));': F * G + H,
    'asm("max.f32 %0, %1, 0f3F800000;" : "=f"(d) : "f"(a));': np.maximum(F, 1),
    'asm("ld.global.nc.L1::no_allocate.L2::128B.f32 %0, [%1];" : "=f"(d) : "l"(x + i));': F,
    'asm volatile("ld.global.ca.f32 %0, [%1+4];" : "=f"(d) : "l"(x + i / 2));': F[np.arange(32) // 2 + 1],
    'asm volatile("st.global.cs.f32 [%0], %1;" :: "l"(y + ROOM + i), "f"(a) : "memory"); d = y[ROOM + i];': F,
    'float e; asm("{ .reg .b32 t; cvt.rna.tf32.f32 t, %1; mov.b32 %0, t; }" : "=f"(d) : "f"(a));': (
        (F.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32),
    'unsigned t; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(t) : "f"(a), "f"(b));'
    "d = __high2float(*(__half2*)&t);": F.astype(np.float16).astype(np.float32),
    'asm("{ .reg .pred p, q; setp.gt.f32 p|q, %1, %2; selp.f32 %0, 0f3F800000, 0f00000000, q; }" : "=f"(d) '
    ': "f"(a), "f"(b));': (~(F > G)).astype(np.float32),
}  # fmt: skip


def each(kind: str, x: np.ndarray, codes: list[str]) -> np.ndarray:
    """What each piece of code leaves in d, for 32 threads, in one kernel."""
    body = "\n".join(f"  {{ {code} y[{32 * i} + i] = d; }}" for i, code in enumerate(codes))
    text = MANY.replace("TYPE", kind).replace("CODES", body).replace("ROOM", str(32 * len(codes)))
    y = np.zeros((len(codes) + 1, 32), x.dtype)
    return compute(text, {"x": x, "y": y}, ["y"]).outputs["y"][:-1]


def test_integer_instructions() -> None:
    for code, out in zip(INTEGER, each("unsigned", U, list(INTEGER)), strict=True):
        np.testing.assert_array_equal(out, INTEGER[code], err_msg=code)


def test_floating_instructions() -> None:
    for code, out in zip(REAL, each("float", F, list(REAL)), strict=True):
        np.testing.assert_allclose(out, REAL[code], rtol=1e-6, err_msg=code)


@pytest.mark.parametrize(
    ("template", "why"),
    [("{" * 3000 + "}" * 3000, "nested"), (".reg .b32 %r<3000000000>;", "registers"),
     ("a" * 100_000 + ";", "does not know")],
)  # fmt: skip
def test_inline_ptx_that_would_take_all_memory_or_minutes_is_one_line(template: str, why: str) -> None:
    from tuner.builders.emulator.ptx.translate import translate_asm

    with pytest.raises(BuildError, match=why) as caught:
        translate_asm(f'# 1 "kernel.cu"\n__global__ void f() {{ asm("{template}"); }}')
    assert str(caught.value).startswith("kernel.cu:1: error: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "instruction",
    ["wgmma.mma_async.sync.aligned.m64n8k32.f32.f16.f16 {%0}, %0, %0, 1;",
     "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%0}, {%0}, {%0}, {%0};",
     "add.rz.f32 %0, %0, %0;", "tcgen05.wait::ld.sync.aligned;", "mov.u32 %0, %nothing;"],
)  # fmt: skip
def test_an_unknown_instruction_names_itself(instruction: str) -> None:
    code = f'd = 0;\n  asm volatile("{instruction}" : "+r"(d));  // BUG'
    text = MANY.replace("TYPE", "unsigned").replace("CODES", code)
    with pytest.raises(BuildError) as caught:
        run(text, {"x": U, "y": U.copy()}, ["y"])
    first = str(caught.value).splitlines()[0]
    assert f"kernel.cu:{bug_line(text)}:" in first
    assert f"'{instruction.split()[0].rstrip(';')}'" in first
