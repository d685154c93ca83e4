"""Tiles of cuda_src/common are filled right from wherever a gather says, and with zeros where nothing is."""

import numpy as np
import pytest

from tests.emulator.emulate import compute
from tuner.core.places import CUDA_SRC

THREADS = 16
KERNEL = """
#include "COMMON/tiles.cuh"
typedef Operand<float, DEPTH_CONTIGUOUS, OUTER, DEPTH, 4, 16> Tile;
extern "C" __global__ void k(const float* from, const int* table, float* to) {
  __shared__ __align__(16) float tile[Tile::SIZE];
  const int thread = threadIdx.x;
  const auto gather = GATHER;
  WAY
  __syncthreads();
  for (int i = thread; i < Tile::ROWS * Tile::COLS; i += 16)
    to[i] = tile[i / Tile::COLS * Tile::STRIDE + i % Tile::COLS];
}
""".replace("COMMON", str(CUDA_SRC / "common"))
WAYS = {
    "elements": "Tile::copy<false>(tile, gather, thread);",
    "pieces": "Tile::copy<true>(tile, gather, thread);",
    "asynchronous": "Tile::copy_async<true>(tile, gather, thread); __pipeline_commit();"
    "__pipeline_wait_prior(0);",
    "asynchronous elements": "Tile::copy_async<false>(tile, gather, thread);",
}
rng = np.random.default_rng(3)
MATRIX = rng.random((11, 24), dtype=np.float32)
IMAGES = rng.random((2, 5, 6, 12), dtype=np.float32)  # [n][h][w][c]
POOL = rng.random((5, 4, 2, 16), dtype=np.float32)  # [pages][page_size][heads][d]
TABLE = np.array([3, 1, 4], np.int32)
# 3x3 taps, stride 2, dilation 1, a zero on each side: 3 x 3 pixels of output.
SHAPE = "ImageShape{2, 12, 5, 6, 3, 3, 2, 1, 1, 1}"


def whole(values: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The values in the upper left corner, zeros around them."""
    tile = np.zeros((rows, cols), np.float32)
    tile[: values.shape[0], : values.shape[1]] = values
    return tile


def seen(y: int, x: int) -> np.ndarray:
    """[pixel][channel] under tap (y, x), by padding the images."""
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded[:, y : y + 5 : 2, x : x + 5 : 2].reshape(18, 12)


# Name: memory, gather, whether depth is contiguous, outer x depth, the tile, whether pieces of 16 bytes go.
CASES = {
    "matrix, its corner": (MATRIX, "Tile::Window(from, 4, 16, 11, 24)", True, (8, 16),
                           whole(MATRIX[4:, 16:], 8, 16), True),
    "matrix, other order": (MATRIX, "Tile::Window(from, 12, 5, 24, 11)", False, (16, 8),
                            whole(MATRIX[5:, 12:], 8, 16), True),
    "image, NHWC": (IMAGES, f"ImageWindow<float, true>{{from, {SHAPE}, 7, 4, 2, 0}}", True, (16, 8),
                    whole(seen(2, 0)[7:, 4:], 16, 8), True),
    "image, NCHW": (np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)),
                    f"ImageWindow<float, false>{{from, {SHAPE}, 6, 5, 0, 2}}", False, (16, 8),
                    whole(seen(0, 2)[6:, 5:].T, 8, 16), False),
    "paged cache": (POOL, "PagedWindow<float>{from, table, 4, 2, 1, 16, 5, 11}", True, (8, 16),
                    whole(POOL[TABLE][:, :, 1].reshape(12, 16)[5:11], 8, 16), True),
}  # fmt: skip


def text(case: str, way: str) -> str:
    _, gather, contiguous, (outer, depth), _, _ = CASES[case]
    filled = KERNEL.replace("GATHER", gather).replace("WAY", WAYS[way])
    filled = filled.replace("DEPTH_CONTIGUOUS", str(contiguous).lower())
    return filled.replace("OUTER", str(outer)).replace("DEPTH", str(depth))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_a_tile_holds_what_its_gather_says(case: str, way: str) -> None:
    memory, _, _, _, expected, by_pieces = CASES[case]
    if not by_pieces and "elements" not in way:
        pytest.skip("its neighbours are not neighbours in memory")
    to = np.full(expected.size, np.nan, np.float32)
    result = compute(text(case, way), {"from": memory, "table": TABLE, "to": to}, ["to"], block=(THREADS,))
    assert np.array_equal(result.outputs["to"].reshape(expected.shape), expected)
    assert expected.any() and (expected == 0).any()


def test_nvrtc_takes_what_the_emulator_takes() -> None:
    from tuner.builders.cuda import nvrtc_program
    from tuner.core.errors import MissingExtra

    for case in CASES:
        try:
            nvrtc_program.compile_cubin(text(case, "asynchronous"), "sm_80")
        except MissingExtra as error:
            pytest.skip(str(error))
