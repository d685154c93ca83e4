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
POOL = rng.random((5, 4, 2, 16), dtype=np.float32)  # [pages][page_size][heads][d]
TABLE = np.array([3, 1, 4], np.int32)


def whole(values: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The values in the upper left corner, zeros around them."""
    tile = np.zeros((rows, cols), np.float32)
    tile[: values.shape[0], : values.shape[1]] = values
    return tile


# Name: memory, gather, whether depth is contiguous, outer x depth, the tile, whether pieces of 16 bytes go.
CASES = {
    "matrix, its corner": (MATRIX, "Tile::Window(from, 4, 16, 11, 24)", True, (8, 16),
                           whole(MATRIX[4:, 16:], 8, 16), True),
    "matrix, other order": (MATRIX, "Tile::Window(from, 12, 5, 24, 11)", False, (16, 8),
                            whole(MATRIX[5:, 12:], 8, 16), True),
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
@pytest.mark.sampled(6)
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


IMAGES = rng.random((2, 5, 6, 12), dtype=np.float32)  # [n][h][w][c]
# A tile of the image matrix, 3x3 taps, stride 2, a zero on each side: 2 * 3 * 3 pixels of 12 * 3 * 3 taps.
IMAGE_TILE = """
#define DTYPE_F32 1
#define OPT_NHWC NHWC
#define OPT_STRIDE 2
#define OPT_DILATION 1
#define OPT_GROUPS 1
#define OPT_PAD 1
#define OPT_PAD_TOP 0
#define OPT_PAD_LEFT 0
#define OPT_BIAS 0
#define OPT_RELU 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#include "CONV2D/image.cuh"
typedef ImageTile<16, 8, 4, 16> Tile;
typedef Tile::Layout Layout;
extern "C" __global__ void k(const float* from, float* to, int pixel0, int depth0) {
  __shared__ __align__(16) float tile[Tile::SIZE];
  const int thread = threadIdx.x;
  const Sizes of{2, 12, 5, 6, 1, 3, 3, 3, 3};
  const Images images(of, from, 0);
  const Tile part(images, pixel0, thread);
  part.copy_async<WHOLE>(tile, images, depth0, thread);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  for (int i = thread; i < 128; i += 16) to[i] = tile[Layout::offset(i / 8, i % 8)];
}
""".replace("CONV2D", str(CUDA_SRC / "conv2d"))


def image_matrix(nhwc: bool) -> np.ndarray:
    """[pixel][depth] of all taps, in the order in which W holds them."""
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = np.stack([padded[:, y : y + 5 : 2, x : x + 5 : 2] for y in range(3) for x in range(3)], axis=3)
    ordered = taps if nhwc else taps.swapaxes(3, 4)  # [n][p][q][tap][c], or channels outside
    return ordered.reshape(18, 108)


@pytest.mark.parametrize(("nhwc", "whole_pieces"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize(("pixel0", "depth0"), [(0, 0), (16, 104), (4, 36)])
@pytest.mark.sampled(3)
def test_a_tile_of_an_image_is_that_part_of_its_matrix(
    nhwc: bool, whole_pieces: bool, pixel0: int, depth0: int
) -> None:
    filled = IMAGE_TILE.replace("NHWC NHWC", f"NHWC {int(nhwc)}").replace("WHOLE", str(whole_pieces).lower())
    images = IMAGES if nhwc else np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    result = compute(
        filled, {"from": images, "to": np.full(128, np.nan, np.float32)}, ["to"], block=(THREADS,),
        scalars={"pixel0": pixel0, "depth0": depth0},
    )  # fmt: skip
    expected = whole(image_matrix(nhwc)[pixel0 : pixel0 + 16, depth0 : depth0 + 8], 16, 8)
    assert np.array_equal(result.outputs["to"].reshape(16, 8), expected)
