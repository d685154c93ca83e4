// Findings: fixed-size records in memory that the caller gave, so that they outlive a crash of this process.
#pragma once
#include <cstdint>
#include <cstring>

#include "../include/cuda_emulator/api.h"

namespace cuda_emulator {

// The numbers are shared with tuner/devices/emulator/findings.py.
enum FindingKind : uint32_t {
  OUT_OF_BOUNDS_GLOBAL = 1,
  OUT_OF_BOUNDS_SHARED = 2,
  OUT_OF_BOUNDS_LOCAL = 3,
  RACE_SHARED = 4,
  RACE_GLOBAL = 5,
  BARRIER_DIVERGENCE = 6,
  WARP_DIVERGENCE = 7,
  UNINITIALIZED_SHARED = 8,
  UNINITIALIZED_GLOBAL = 9,
  MISALIGNED = 10,
  DEADLOCK = 11,
  CRASH = 12,
  TRAP = 13,
  MISSING_FENCE = 14,
  NOT_WAITED_FOR = 15,
};

// BLIND: it reads nothing; PROXY: of the copy engine, which needs no fence for the tensor cores
enum AccessFlag : uint32_t { READ = 0, WRITE = 1, ATOMIC = 2, ASYNC = 4, BLIND = 8, PROXY = 16 };

struct Finding {
  uint32_t kind, count;
  uint64_t pc, pc2;        // offsets into the library, of the instruction after the call; 0 unknown
  uint64_t address;
  int64_t offset;          // bytes from the start of the tensor or variable
  uint32_t size, access, access2;
  int32_t object;          // index of the tensor, or of the shared variable; -1 none
  uint32_t thread, thread2;  // numbered through the grid; NOBODY none
  uint32_t extra, extra2;
  uint32_t line, column;   // where the compiler gave a place instead of an address
  char file[96];
  char text[96];
};

constexpr uint32_t NOBODY = 0xffffffffu;

struct FindingLog {
  uint32_t capacity, used;
  uint64_t dropped;
  Finding records[1];
};

inline FindingLog* findings = nullptr;

// The record of this defect, a new one or the one of an earlier occurrence: one a kind and pair of places.
inline Finding* report(FindingKind kind, uint64_t pc, uint64_t pc2 = 0, uint32_t line = 0, uint32_t column = 0) {
  static Finding nowhere;
  if (!findings) return &(nowhere = Finding{});
  for (uint32_t i = 0; i < findings->used; ++i) {
    Finding& known = findings->records[i];
    if (known.kind == kind && known.pc == pc && known.pc2 == pc2 && known.line == line && known.column == column) {
      ++known.count;
      return &(nowhere = Finding{});  // the first occurrence stays as the example
    }
  }
  if (findings->used == findings->capacity) {
    ++findings->dropped;
    return &(nowhere = Finding{});
  }
  Finding& fresh = findings->records[findings->used];
  std::memset(&fresh, 0, sizeof fresh);
  fresh.kind = kind;
  fresh.count = 1;
  fresh.pc = pc;
  fresh.pc2 = pc2;
  fresh.line = line;
  fresh.column = column;
  fresh.object = -1;
  fresh.thread = fresh.thread2 = NOBODY;
  ++findings->used;  // last: a record that is counted is complete enough to be read after a crash
  return &fresh;
}
}  // namespace cuda_emulator
