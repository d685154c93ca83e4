/*[tuner]
name = "cuda_conv_implicit_gemm"
operator = "conv2d"
summary = "A product of pixels and filters whose image matrix is never made: tiles are gathered from X, asynchronously."
dtypes = ["f32", "f16", "int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = "operator"
requires = ["cp_async"]

[supports]
"it divides depths by 32-bit multiplication" = "depth * max(r * s, group_c) < 2**31"
"its pixels are counted in 32 bits" = "pixels < 2**30"

[parameters]
BP = { values = [16, 32, 64, 128, 256], doc = "pixels a block" }
BF = { values = [8, 16, 32, 64, 128], doc = "filters a block" }
BK = { values = [4, 8, 16, 32], doc = "depth of the tiles in shared memory" }
TP = { values = [1, 2, 4, 8], doc = "pixels a thread" }
TF = { values = [1, 2, 4, 8], doc = "filters a thread" }
STAGES = { values = [2, 3, 4], doc = "tiles in shared memory: one in use, the others on their way" }
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }
UNROLL = { values = [1, 2], doc = "groups of four steps of depth in straight-line code" }
GROUP_M = { values = [1, 4, 8], doc = "rows of blocks visited together" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
depth = "group_c * r * s"
pixels = "n * p * q"
tiles = "ceildiv(pixels, BP) * ceildiv(group_k, BF)"
blocks = "tiles * groups"
threads = "BP * BF // (TP * TF)"
row_bytes = "BK * element_bytes"
tile_bytes = "(BP + BF) * row_bytes"
pad_bytes = "16 * PAD * (BF + (BP if nhwc else BK))"
shared = "STAGES * (tile_bytes + pad_bytes)"
# Windows of a thread's pixels, two registers for the address and two for the pixel.
windows = "max(1, BP * row_bytes // 16 // threads if nhwc else BP // threads)"
registers_needed = "TP * TF + 2 * (TP + TF) + 4 * windows + 56"

[constraints]
thread_tiles_divide = "BP % TP == 0 and BF % TF == 0"
whole_warps = "threads % warp_size == 0"
threads_fit = "threads <= max_threads_block"
vector_divides_rows = "row_bytes % 16 == 0 and (nhwc or BP * element_bytes % 16 == 0)"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
threads_take_columns = "nhwc or threads % BP == 0 or BP % threads == 0"
threads_have_elements = "BP * BK >= threads * (16 // element_bytes if nhwc else 1)"
elements_fit_a_thread = "BP * BK <= 32 * threads and tile_bytes <= 256 * threads"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * threads * MIN_BLOCKS <= registers_sm"
threads_of_sm_fit = "threads * MIN_BLOCKS <= max_threads_sm"
shared_fits = "shared <= shared_bytes_block_optin"
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x"
filters_used = "BF < 2 * group_k or BF == 8"

[features]
macs = "blocks * BP * BF * depth"
traffic_bytes = "blocks * (BP + BF) * depth * element_bytes"
steps = "ceildiv(depth, BK)"
stages = "STAGES"
threads = "threads"
shared = "STAGES * tile_bytes"
intensity = "BP * BF / (BP + BF)"
registers = "TP * TF + TP + TF"

[launch]
grid = ["tiles", "groups", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 2: all pixels of all images against all filters is a matrix product whose depth is a filter's taps. The image
// matrix would be r * s times the image; here its tiles are gathered from X as they are needed (Chetlur et al., cuDNN,
// 2014), several under way at once. Then everything that GEMM's rung 5 does holds. Y's contiguous dimension is that of
// the product's columns: filters with NHWC, pixels with NCHW.
#include "../common/visits.cuh"
#include "image.cuh"

constexpr int BM = OPT_NHWC ? BP : BF, BN = OPT_NHWC ? BF : BP;
constexpr int TM = OPT_NHWC ? TP : TF, TN = OPT_NHWC ? TF : TP;
constexpr int LANES_M = BM / TM, LANES_N = BN / TN, THREADS = LANES_M * LANES_N;
constexpr int GAP = PAD * VECTOR_OF<In>;
typedef ImageTile<BP, BK, GAP, THREADS> ImagePart;
typedef Operand<In, true, BF, BK, GAP, THREADS> FilterPart;  // W is [filter][depth] in either layout
constexpr int STAGE = ImagePart::SIZE + FilterPart::SIZE;

template <bool OF_IMAGE> struct Choose { typedef FilterPart type; };
template <> struct Choose<true> { typedef ImagePart::Layout type; };
typedef Choose<bool(OPT_NHWC)>::type TileA;
typedef Choose<!OPT_NHWC>::type TileB;

template <bool ALIGNED>
__device__ __forceinline__ void convolve(In* stages, const Sizes& of, const In* X, const In* W, const Finish& finish,
                                         Out* Y) {
  const int thread = threadIdx.x, lane_m = thread / LANES_N, lane_n = thread % LANES_N, group = blockIdx.y;
  const int rows = OPT_NHWC ? of.pixels() : of.group_k(), cols = OPT_NHWC ? of.group_k() : of.pixels();
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (rows + BM - 1) / BM, (cols + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  const int pixel0 = OPT_NHWC ? row0 : col0, filter0 = OPT_NHWC ? col0 : row0;
  const int depth = of.depth(), first = group * of.group_k();
  const Images images(of, X, group);
  const ImagePart image_part(images, pixel0, thread);
  const In* const filters = W + size_t(first) * depth;
  Acc sum[TM][TN] = {};
  const auto start = [&](int tile, In* slot) {
    image_part.template copy_async<ALIGNED>(slot, images, tile * BK, thread);
    FilterPart::copy_async<ALIGNED>(slot + ImagePart::SIZE,
                                    FilterPart::Window(filters, filter0, tile * BK, of.group_k(), depth), thread);
  };
  ring<STAGES, STAGE>(stages, 0, (depth + BK - 1) / BK, start, [&](const In* slot) {
    const In *image = slot, *filter = slot + ImagePart::SIZE;
    accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, OPT_NHWC ? image : filter, OPT_NHWC ? filter : image,
                                                           lane_m, lane_n);
  });
  const int pq = of.p * of.q;
  const auto place = [&](int row, int col) {
    const int pixel = OPT_NHWC ? row : col, filter = first + (OPT_NHWC ? col : row);
    return of.y_index(pixel / pq, filter, pixel % pq);
  };
  write_lanes<TileA, TileB, LANES_M, LANES_N, ALIGNED>(
      sum, Y, row0, col0, lane_m, lane_n, rows, cols, place,
      [&](Acc value, size_t, int row, int col) { return finish(value, first + (OPT_NHWC ? col : row)); });
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h, int w, int k, int r, int s, int p,
           int q) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale};
  const size_t starts = reinterpret_cast<size_t>(X) | reinterpret_cast<size_t>(W) | reinterpret_cast<size_t>(Y);
  // Whole 16-byte pieces of filters; with NHWC of a pixel's channels, and groups of four filters of Y; with NCHW
  // groups of four pixels of Y within one image.
  const bool pieces = of.depth() % VECTOR_OF<In> == 0 && starts % 16 == 0 &&
                      (OPT_NHWC ? of.group_c() % VECTOR_OF<In> == 0 && of.group_k() % 4 == 0 : p * q % 4 == 0);
  if (pieces)
    convolve<true>(stages, of, X, W, finish, Y);
  else
    convolve<false>(stages, of, X, W, finish, Y);
}
