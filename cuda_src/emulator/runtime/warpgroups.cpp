// wgmma: products of a warpgroup that run on by themselves, of operands that descriptors find in shared memory.
//
// A product reads its operands and changes its sums when a wait says that it is done, and not before: who looks earlier
// sees old sums, who overwrites an operand earlier spoils it. Each warp computes its own 16 of the 64 rows. Layouts of
// operands: PTX ISA 9.7.15.5.1 ("Shared Memory Matrix Layout", "Strides", "Matrix Descriptor Format").
#include <algorithm>

#include "state.h"

namespace cuda_emulator {
bool ordered(const Thread& self, uint32_t gid, uint32_t at, uint32_t phase);

namespace {

// ---- operands
// Where element (outer, byte of depth) of an operand lies in the window of shared memory.
struct Layout {
  uint32_t start, leading, stride, width;  // width: of the swizzle, bytes; 0 without
  bool outer_contiguous;
  uint32_t size;  // bytes of an element

  Layout(uint64_t descriptor, bool outer, uint32_t element)
      : start(uint32_t(descriptor & 0x3fff) << 4),
        leading(uint32_t(descriptor >> 16 & 0x3fff) << 4),
        stride(uint32_t(descriptor >> 32 & 0x3fff) << 4),
        width(descriptor >> 62 ? 256u >> (descriptor >> 62) : 0),
        outer_contiguous(outer),
        size(element) {}

  // The 16 bytes that begin with this element: outer a multiple of what they hold where outer is contiguous, else depth.
  uint32_t piece(uint32_t outer, uint32_t depth) const {
    const uint32_t along = (outer_contiguous ? outer : depth) * size, across = outer_contiguous ? depth : outer;
    uint32_t at = start;
    if (!width) {  // core matrices: eight rows of 16 bytes
      at += across % 8 * 16 + (outer_contiguous ? along / 16 * stride + across / 8 * leading
                                                : along / 16 * leading + across / 8 * stride);
      return at;
    }
    at += across % 8 * width + across / 8 * stride + along % width + along / width * leading;
    return at ^ ((at >> 7 & (width / 16 - 1)) << 4);
  }
};

// A piece of an operand, who wrote it when the product was issued, and what it holds: elements from (outer, depth) on.
struct Piece {
  uint32_t at;
  uint16_t outer, depth;
  uint32_t writer, clock, phase;
};

struct Product {
  WgmmaShape shape;
  Layout a, b;
  bool a_in_registers, scale_d;
  int scale_a, scale_b;
  std::vector<Piece> pieces_a, pieces_b;
  uint32_t registers_a[32][4];
  std::vector<uint32_t*> sums;  // of lane l from l * count on
  uint64_t batch;
  uintptr_t pc;
};

struct Sum {
  uint32_t bits;
  uint32_t running;  // products
};
}  // namespace

// Products of a warp, those issued first in front.
struct WarpProducts {
  std::vector<Product> running;
  std::unordered_map<uint32_t*, Sum> sums;  // as products left them, or found them
  uint64_t committed = 0, issued = 0, trace = 0;
  bool fenced = false;
  uintptr_t pc = 0;
};

namespace {
WarpProducts& products_of(const Thread& lane) { return lane.block->products[lane.warp()]; }

std::vector<Piece> pieces_of(const Layout& layout, uint32_t first, uint32_t outers, uint32_t depths) {
  std::vector<Piece> found;
  const uint32_t run = 16 / layout.size;
  const uint32_t step_outer = layout.outer_contiguous ? run : 1, step_depth = layout.outer_contiguous ? 1 : run;
  for (uint32_t outer = first; outer < first + outers; outer += step_outer) {
    for (uint32_t depth = 0; depth < depths; depth += step_depth) {
      found.push_back({layout.piece(outer, depth), uint16_t(outer - first), uint16_t(depth), 0, 0, 0});
    }
  }
  return found;
}

Finding* find(FindingKind kind, const Thread& lane, uintptr_t pc, const char* text) {
  Finding* f = report(kind, place(pc));
  f->thread = lane.gid;
  std::strncpy(f->text, text, sizeof f->text - 1);
  return f;
}

// Whether somebody made what a cell's writer wrote visible to the tensor cores: the writer after the write, before what
// orders it with `reader`; another thread past a barrier; or the reader itself (PTX ISA, "Async proxy").
bool fenced_for(const Thread& reader, const Cell& cell) {
  const Block& block = *reader.block;
  const Thread& writer = block.threads[cell.writer - 1 - block.linear * launch.threads];
  for (const ProxyFence& fence : writer.proxy_fences) {
    if ((cell.w_clock <= fence.clock || cell.w_phase < fence.phase) &&
        ordered(reader, writer.gid, fence.clock, fence.phase)) {
      return true;
    }
  }
  for (const ProxyFence& fence : reader.proxy_fences) {
    if (fence.clock && fence.phase >= cell.w_phase) return true;
  }
  for (uint32_t phase : block.proxy_phases) {
    if (cell.w_phase < phase && phase < reader.block->phase) return true;
  }
  return false;
}

// The reads of an operand when its product is issued: what is there has to be there for the tensor cores.
void read_at_issue(Thread& lane, std::vector<Piece>& pieces) {
  bool complained = false;
  for (Piece& piece : pieces) {
    access_as(&lane, uintptr_t(launch.shared) + piece.at, 16, READ);
    if (!in_shared(piece.at, 16)) continue;
    const Cell* cells = lane.block->cells.data() + piece.at;
    piece.writer = cells->writer, piece.clock = cells->w_clock, piece.phase = cells->w_phase;
    for (int i = 0; i < 16 && !complained; ++i) {
      const bool same = i && cells[i].writer == cells[i - 1].writer && cells[i].w_clock == cells[i - 1].w_clock;
      if (same || !cells[i].writer || (cells[i].w_flags & (ASYNC | PROXY)) || fenced_for(lane, cells[i])) continue;
      Finding* f = report(MISSING_FENCE, place(lane.pc), cells[i].w_pc);
      f->thread = lane.gid, f->thread2 = cells[i].writer - 1;
      complained = true;
    }
  }
}

// Again when it is done: nobody may have written meanwhile, with or without a barrier.
void read_at_wait(Thread& lane, const Product& product, const std::vector<Piece>& pieces) {
  bool complained = false;
  lane.pc = product.pc;
  for (const Piece& piece : pieces) {
    access_as(&lane, uintptr_t(launch.shared) + piece.at, 16, READ);
    if (!in_shared(piece.at, 16) || complained) continue;
    const Cell& cell = lane.block->cells[piece.at];
    if (cell.writer == piece.writer && cell.w_clock == piece.clock && cell.w_phase == piece.phase) continue;
    Finding* f = report(NOT_WAITED_FOR, place(product.pc), cell.w_pc);
    f->thread = lane.gid, f->thread2 = cell.writer - 1;
    std::strcpy(f->text, "an operand of a product in shared memory is overwritten");
    complained = true;
  }
}

// ---- issue, commit, wait: what a warp does together
struct Issue {
  Thread* thread;
  const WgmmaCall* call;
};

void check_sums(WarpProducts& warp, Thread& lane, const WgmmaCall& call) {
  bool fence_missing = call.a_registers && !warp.fenced, changed = false;
  for (unsigned i = 0; i < call.count; ++i) {
    auto* at = static_cast<uint32_t*>(call.sums[i]);
    auto known = warp.sums.find(at);
    if (known == warp.sums.end()) {
      fence_missing |= !warp.fenced;
      warp.sums[at] = {*at, 1};
      continue;
    }
    if (known->second.bits != *at) (known->second.running ? changed : fence_missing) |= known->second.running || !warp.fenced;
    known->second.bits = *at;
    ++known->second.running;
  }
  if (fence_missing) find(MISSING_FENCE, lane, lane.pc, "wgmma.fence");
  if (changed) find(NOT_WAITED_FOR, lane, lane.pc, "the sums of a product are changed");
}

void issue_products(void** lanes, unsigned) {
  const Issue* first = nullptr;
  for (int lane = 0; lane < 32 && !first; ++lane) first = static_cast<Issue*>(lanes[lane]);
  const WgmmaCall& call = *first->call;
  Thread& thread = *first->thread;
  WarpProducts& warp = products_of(thread);
  const uint32_t size = call.shape->element_bytes, depths = 32 / size;
  Product product{*call.shape, Layout(call.a, call.outer_a, size), Layout(call.b, call.outer_b, size),
                  call.a_registers != nullptr, call.scale_d, call.scale_a, call.scale_b, {}, {}, {}, {},
                  warp.committed, thread.pc};
  product.sums.assign(32 * call.count, nullptr);
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<Issue*>(lanes[lane]);
    if (!own) continue;
    if (own->call->a != call.a || own->call->b != call.b) {
      find(WARP_DIVERGENCE, *own->thread, thread.pc, "lanes of a warp name different descriptors");
    }
    for (unsigned i = 0; i < call.count; ++i) product.sums[lane * call.count + i] = static_cast<uint32_t*>(own->call->sums[i]);
    if (call.a_registers) std::memcpy(product.registers_a[lane], own->call->a_registers, 16);
    if (launch.sanitize) check_sums(warp, *own->thread, *own->call);
  }
  if (!product.a_in_registers) product.pieces_a = pieces_of(product.a, thread.warp() % 4 * 16, 16, depths);
  product.pieces_b = pieces_of(product.b, 0, call.shape->n, depths);
  if (launch.sanitize) {
    read_at_issue(thread, product.pieces_a);
    read_at_issue(thread, product.pieces_b);
  }
  ++warp.issued;
  warp.pc = thread.pc;
  warp.trace = (warp.trace ^ call.a * 3 ^ call.b) * 0x9e3779b97f4a7c15ull + call.shape->n;
  warp.running.push_back(std::move(product));
}

// Elements of the pieces: [outer][depth].
void gather(const Product& product, const std::vector<Piece>& pieces, const Layout& layout, MmaType type,
            double (*to)[32]) {
  const uint32_t run = 16 / layout.size;
  for (const Piece& piece : pieces) {
    unsigned char bytes[16];
    std::memset(bytes, 0xff, 16);
    if (in_shared(piece.at, 16)) std::memcpy(bytes, launch.shared + piece.at, 16);
    for (uint32_t e = 0; e < run; ++e) {
      const uint32_t outer = piece.outer + (layout.outer_contiguous ? e : 0);
      to[outer][piece.depth + (layout.outer_contiguous ? 0 : e)] = value_of(type, bytes, e);
    }
  }
}

void compute(Thread& thread, const Product& product) {
  static double a[16][32], b[256][32], columns[64][8];
  const WgmmaShape& shape = product.shape;
  const unsigned depths = 32 / shape.element_bytes, count = unsigned(product.sums.size() / 32);
  if (launch.sanitize) {
    read_at_wait(thread, product, product.pieces_a);
    read_at_wait(thread, product, product.pieces_b);
  }
  if (product.a_in_registers) {
    const unsigned held = per_register(shape.a);
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned i = 0; i < 4 * held; ++i) {
        const unsigned r = i / held, e = i % held;
        a[lane / 4 + 8 * (r % 2)][held * (lane % 4) + e + 4 * held * (r / 2)] =
            value_of(shape.a, product.registers_a[lane], i);
      }
    }
  } else {
    gather(product, product.pieces_a, product.a, shape.a, a);
  }
  gather(product, product.pieces_b, product.b, shape.b, b);
  for (auto& row : a) {
    for (double& value : row) value *= product.scale_a * product.scale_b;
  }
  const bool short_sums = shape.a == MMA_E4M3 || shape.a == MMA_E5M2;
  const MmaShape as{16, 8, uint8_t(depths), shape.a, shape.b, shape.d, shape.d, shape.saturate};
  for (unsigned j = 0; j < shape.n / 8u; ++j) {
    for (unsigned k = 0; k < depths; ++k) {
      for (unsigned c = 0; c < 8; ++c) columns[k][c] = b[8 * j + c][k];
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned e = 0; e < 4; ++e) {
        uint32_t* at = product.sums[lane * count + 4 * j + e];
        if (!at) continue;
        const double* row = a[lane / 4 + 8 * (e / 2)];
        const unsigned column = 2 * (lane % 4) + e % 2;
        double sum = product.scale_d ? value_of(shape.d, at, 0) : 0;
        if (short_sums) {
          sum = aligned_sum(row, columns, column, depths, sum);
        } else {
          for (unsigned k = 0; k < depths; ++k) sum += row[k] * columns[k][column];
        }
        store_value(as, at, 0, sum);
      }
    }
  }
}

void land(Thread& thread, WarpProducts& warp, const Product& product) {
  bool changed = false;
  for (uint32_t* at : product.sums) {
    if (!launch.sanitize || !at) continue;
    changed |= warp.sums[at].bits != *at;
  }
  if (changed) find(NOT_WAITED_FOR, thread, product.pc, "the sums of a product are changed");
  compute(thread, product);
  for (uint32_t* at : product.sums) {
    if (!launch.sanitize || !at) continue;
    Sum& sum = warp.sums[at];
    sum.bits = *at;
    if (sum.running) --sum.running;
  }
}

struct Wait {
  Thread* thread;
  unsigned left;
};

void wait_batches(void** lanes, unsigned) {
  const Wait* first = nullptr;
  for (int lane = 0; lane < 32 && !first; ++lane) first = static_cast<Wait*>(lanes[lane]);
  WarpProducts& warp = products_of(*first->thread);
  const uint64_t done = warp.committed > first->left ? warp.committed - first->left : 0;
  std::vector<Product> rest;
  for (Product& product : warp.running) {
    if (product.batch < done) {
      land(*first->thread, warp, product);
    } else {
      rest.push_back(std::move(product));
    }
  }
  warp.running = std::move(rest);
}

Thread* any_of(void** lanes) {
  for (int lane = 0; lane < 32; ++lane) {
    if (lanes[lane]) return static_cast<Wait*>(lanes[lane])->thread;
  }
  return nullptr;
}

void fence_sums(void** lanes, unsigned) { products_of(*any_of(lanes)).fenced = true; }

void commit_batch(void** lanes, unsigned) {
  WarpProducts& warp = products_of(*any_of(lanes));
  ++warp.committed;
  warp.fenced = false;
}
}  // namespace

// At a block's end: products that nobody waited for, and warps of a group that did not do the same.
void check_products(Block& block) {
  for (size_t i = 0; i < block.products.size(); ++i) {
    const WarpProducts& warp = block.products[i];
    Thread& thread = block.threads[32 * i];
    if (!warp.running.empty()) find(NOT_WAITED_FOR, thread, warp.running.back().pc, "the kernel ends before a product");
    const WarpProducts& first = block.products[i / 4 * 4];
    const bool whole = i / 4 * 4 + 4 <= block.products.size();
    if ((whole || !warp.issued) && warp.issued == first.issued && warp.trace == first.trace) continue;
    find(WARP_DIVERGENCE, thread, warp.pc ? warp.pc : first.pc, "the four warps of a warpgroup do not issue the same products");
  }
}

Block::Block() = default;
Block::~Block() = default;

void forget_products(Block& block) { block.products.assign((launch.threads + 31) / 32, WarpProducts{}); }

extern "C" {
void cuda_emu_wgmma(const WgmmaCall* call) {
  Issue lane{thread_now, call};
  meet_warp(~0u, WARP_WGMMA, &lane, issue_products, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_wgmma_fence(void) {
  Wait lane{thread_now, 0};
  meet_warp(~0u, WARP_WGMMA_FENCE, &lane, fence_sums, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_wgmma_commit(void) {
  Wait lane{thread_now, 0};
  meet_warp(~0u, WARP_WGMMA_COMMIT, &lane, commit_batch, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_wgmma_wait(unsigned batches_left) {
  Wait lane{thread_now, batches_left};
  meet_warp(~0u, WARP_WGMMA_WAIT, &lane, wait_batches, uintptr_t(__builtin_return_address(0)));
}

// fence.proxy.async: what this thread knows to be written is there for the tensor cores.
void cuda_emu_proxy_fence(void) {
  if (!launch.sanitize) return;
  Thread& self = *thread_now;
  std::rotate(self.proxy_fences, self.proxy_fences + 3, self.proxy_fences + 4);
  self.proxy_fences[0] = {self.clock++, self.block->phase};
  uint32_t* phases = self.block->proxy_phases;
  if (phases[0] != self.block->phase) phases[1] = phases[0], phases[0] = self.block->phase;
}
}
}  // namespace cuda_emulator
