"""Boxes of tensors and mbarriers on the emulator: what arrives where, how mistakes with them are named."""

import numpy as np
import pytest

from tests.emulator.emulate import SANITIZED, TARGET, kinds
from tuner.core.kernel import Argument, Launch, Source
from tuner.core.places import CUDA_SRC
from tuner.core.tensor_map import TensorMap, Windows
from tuner.devices.emulator.check import CheckResult, check_source

# A box of 8 rows of 128 bytes, copied out as it lies; in a PAIR each block fetches one half for both.
KERNEL = """
extern "C" __global__ void CLUSTER k(const __grid_constant__ TensorMap map, float* out, int x, int y) {
  __shared__ __align__(1024) unsigned char s[1024];
  __shared__ unsigned long long counted;
  const unsigned to = (unsigned)__cvta_generic_to_shared(s);
  const unsigned full = (unsigned)__cvta_generic_to_shared(&counted);
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    barriers_ready();
  }
  MEET;
  if (threadIdx.x == 0) {
    arrive_expecting(full, 1024);
    ASK
  }
  await(full, 0);
  for (int i = threadIdx.x; i < 256; i += blockDim.x)
    out[blockIdx.x * 256 + i] = reinterpret_cast<float*>(s)[i];
  MEET;
}"""
ONE = {"CLUSTER": "", "MEET": "__syncthreads()", "ASK": "fetch_box(to, &map, x, y, 0, full);"}
PAIR = {
    "CLUSTER": "__cluster_dims__(2)", "MEET": "cluster_barrier()",
    "ASK": "const int half = 4 * blockIdx.x; fetch_box_for(to + 128 * half, &map, x, y + half, 0, full, 3);",
}  # fmt: skip
ROWS, COLS = 20, 40


def run(
    form: dict[str, str], x: int, y: int, swizzle: int = 128, changes: dict[str, str] | None = None
) -> CheckResult:
    text = (CUDA_SRC / "common" / "bulk.cuh").read_text() + KERNEL
    for word in changes or {}:
        assert word in text
    for word, instead in {**(changes or {}), **form}.items():
        text = text.replace(word, instead)
    blocks = 2 if form is PAIR else 1
    box = TensorMap((COLS, ROWS, 1), (32, 8 // blocks, 1), 4, swizzle)
    arguments = (box.argument("a"), Argument("out"), Argument("x", "int32", x), Argument("y", "int32", y))
    source = Source("nvrtc", text, "k", arguments, launch=Launch((blocks, 1, 1), (64, 1, 1)))
    tensors = {"a": matrix(), "out": np.zeros((blocks, 8, 32), np.float32)}
    return check_source(SANITIZED, source, TARGET, tensors, ["out"])


def matrix() -> np.ndarray:
    return np.arange(1, ROWS * COLS + 1, dtype=np.float32).reshape(ROWS, COLS)


def expected(x: int, y: int, swizzle: int) -> np.ndarray:
    """The window of the matrix, zeros around it; in row r the 16-byte pieces change places."""
    padded = np.zeros((ROWS + 16, COLS + 64), np.float32)
    padded[8 : 8 + ROWS, 32 : 32 + COLS] = matrix()
    window = padded[8 + y : 16 + y, 32 + x : 64 + x].reshape(8, 8, 4)
    if not swizzle:
        return window.reshape(8, 32)
    return np.stack([window[r][[piece ^ r for piece in range(8)]].reshape(32) for r in range(8)])


@pytest.mark.parametrize(("x", "y", "swizzle"), [(0, 0, 128), (4, 3, 0), (30, 15, 128), (-5, -2, 128)])
def test_a_box_arrives_with_zeros_where_there_is_no_tensor(x: int, y: int, swizzle: int) -> None:
    result = run(ONE, x, y, swizzle)
    assert result.completed, result.error
    assert result.findings == ()
    assert np.array_equal(result.outputs["out"][0], expected(x, y, swizzle))


def test_blocks_of_a_cluster_fetch_for_each_other() -> None:
    result = run(PAIR, 8, 14)
    assert result.completed, result.error
    assert result.findings == ()
    assert all(np.array_equal(out, expected(8, 14, 128)) for out in result.outputs["out"])


IMAGES, HIGH, WIDE, CHANNELS = 2, 5, 4, 32
# Corners and steps, columns first; where the first window stands (image, y, x); the tap (down, across).
_WALKS = {
    "3 x 3 with a border, from one image to the next": (
        Windows((-1, -1), (-1, -1), (1, 1)),
        (0, 3, 1),
        (0, 0),
    ),
    "the last tap, below the border": (Windows((-1, -1), (-1, -1), (1, 1)), (0, 1, -1), (2, 2)),
    "a stride, wider than high": (Windows((-2, 0), (-1, -1), (2, 3)), (0, 0, -2), (1, 3)),
    "beyond the last image": (Windows((0, 0), (0, 0), (1, 1)), (1, 4, 1), (0, 0)),
}


def images() -> np.ndarray:
    return np.arange(1, IMAGES * HIGH * WIDE * CHANNELS + 1, dtype=np.float32).reshape(
        IMAGES, HIGH, WIDE, CHANNELS
    )


def pixels(windows: Windows, first: tuple[int, int, int], tap: tuple[int, int]) -> np.ndarray:
    """Eight pixels under a tap, by a list of all windows in order."""
    rows, columns = (
        range(windows.lower[i], size + windows.upper[i], windows.steps[i])
        for i, size in ((1, HIGH), (0, WIDE))
    )
    order = [(image, y, x) for image in range(IMAGES) for y in rows for x in columns]
    found = np.zeros((8, CHANNELS), np.float32)
    for number, (image, y, x) in enumerate(order[order.index(first) :][:8]):
        y, x = y + tap[0], x + tap[1]
        if 0 <= y < HIGH and 0 <= x < WIDE:
            found[number] = images()[image, y, x]
    return found


def walk(
    windows: Windows, first: tuple[int, int, int], tap: tuple[int, int], ask: str | None = None
) -> CheckResult:
    (image, y, x), (down, across) = first, tap
    text = (CUDA_SRC / "common" / "bulk.cuh").read_text() + KERNEL
    fetch = ask or f"fetch_pixels(to, &map, 0, x, y, {image}, {across}, {down}, full);"
    for word, instead in {**ONE, "ASK": fetch}.items():
        text = text.replace(word, instead)
    box = TensorMap((CHANNELS, WIDE, HIGH, IMAGES), (32, 8), 4, 0, windows)
    assert box.problem() is None
    arguments = (box.argument("a"), Argument("out"), Argument("x", "int32", x), Argument("y", "int32", y))
    source = Source("nvrtc", text, "k", arguments, launch=Launch((1, 1, 1), (64, 1, 1)))
    tensors = {"a": images(), "out": np.zeros((8, 32), np.float32)}
    return check_source(SANITIZED, source, TARGET, tensors, ["out"])


@pytest.mark.parametrize("name", _WALKS)
def test_a_copy_goes_from_window_to_window(name: str) -> None:
    windows, first, tap = _WALKS[name]
    result = walk(windows, first, tap)
    assert result.completed, result.error
    assert result.findings == ()
    assert np.array_equal(result.outputs["out"], pixels(windows, first, tap))


BOX_BY_WINDOWS = """asm volatile(
    "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
    "[%1, {%2, %3, %4, %5}], [%6];" :: "r"(to), "l"(&map), "r"(0), "r"(x), "r"(y), "r"(0), "r"(full)
    : "memory");"""


@pytest.mark.parametrize(
    ("x", "across", "ask", "said"),
    [
        (4, 0, None, "begins where no window may stand"),
        (0, 256, None, "further from its window"),
        (0, 0, BOX_BY_WINDOWS, "a copy of boxes by a map of windows"),
    ],
)
def test_a_copy_by_windows_that_there_are_not_is_named(
    x: int, across: int, ask: str | None, said: str
) -> None:
    result = walk(Windows((0, 0), (0, 0), (1, 1)), (0, 0, x), (0, across), ask)
    assert "trap" in kinds(result) and any(said in str(f) for f in result.findings)


_PLANTED = {
    "nobody waits": (ONE, {"await(full, 0);": ""}, "race_shared"),
    "a phase that has not begun is waited for": (ONE, {"await(full, 0)": "await(full, 1)"}, "race_shared"),
    "the barrier is used before all know of it": (ONE, {"  MEET;\n  if": "  if"}, "trap"),
    "fewer bytes come than are expected": (ONE, {"full, 1024": "full, 2048"}, "deadlock"),
    "another one arrives": (ONE, {"    ASK": "    arrive(full); ASK"}, "trap"),
    "no boundary of 128 bytes": (ONE, {"    ASK": "    fetch_box(to + 16, &map, x, y, 0, full);"}, "trap"),
    "a block of the cluster may not have begun": (
        PAIR,
        {"  MEET;\n  if": "  __syncthreads();\n  if"},
        "trap",
    ),
}


@pytest.mark.parametrize("name", _PLANTED)
def test_a_mistake_is_named(name: str) -> None:
    form, changes, kind = _PLANTED[name]
    result = run(form, 0, 0, changes=changes)
    assert kind in kinds(result), [str(f) for f in result.findings]


def test_what_the_copy_engine_does_not_take_is_said() -> None:
    assert TensorMap((64, 8), (64, 8), 2, 128).problem() is None
    assert "not 18" in str(TensorMap((9, 8), (8, 8), 2).problem())
    assert "128 at most, and not 256" in str(TensorMap((256, 8), (128, 8), 2, 128).problem())
    assert "1 to 256 elements" in str(TensorMap((64, 512), (64, 512), 2).problem())


@pytest.mark.parametrize(
    ("dims", "box", "windows", "said"),
    [
        ((64, 8, 8, 2), (64, 300), Windows((-1, -1), (-1, -1), (1, 1)), None),
        ((64, 8, 8, 2), (64, 2000), Windows((-1, -1), (-1, -1), (1, 1)), "1 to 1024 pixels"),
        ((64, 8, 8, 2), (64, 64), Windows((-200, 0), (0, 0), (1, 1)), "-128 to 127 pixels"),
        ((64, 8, 8, 2), (64, 64), Windows((0, 0), (0, 0), (1, 9)), "1 to 8 pixels apart"),
        ((64, 8, 2, 2), (64, 64), Windows((0, 0), (0, -2), (1, 1)), "no window stands"),
        ((64, 8), (64, 64), Windows((), (), ()), "three to five dimensions"),
        ((64, 8, 8, 2), (64, 64), Windows((0,), (0, 0), (1, 1)), "for each of 2 dimensions"),
    ],
)
def test_which_windows_the_copy_engine_does_not_take_is_said(
    dims: tuple[int, ...], box: tuple[int, ...], windows: Windows, said: str | None
) -> None:
    problem = TensorMap(dims, box, 2, 128, windows).problem()
    assert problem is None if said is None else said in str(problem)
