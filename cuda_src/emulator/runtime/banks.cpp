// Bank conflicts of shared memory, counted for each place of code.
//
// Shared memory has 32 banks of 4 bytes, and a request of a warp takes as many turns as distinct words of one
// bank are asked of it; lanes that ask for one word share it (CUDA C++ Programming Guide, "Shared Memory" of each
// compute capability). Accesses of 8 and 16 bytes are requests of a half and a quarter warp. What is counted
// is the turns beyond the first: 0 is the best a request can do.
//
// Threads run one after the other here, so a warp's request is put together afterwards: the n-th access of each
// lane from one place of code since the block's last barrier. Where g++ split an access to a vector, parts that
// follow one another in all lanes, in memory as in time, are one access again.
#include <algorithm>
#include <map>

#include "state.h"

namespace cuda_emulator {

struct BankRecord {  // tuner/devices/emulator/banks.py knows it too
  uint64_t pc;
  uint64_t requests, conflicts;
  uint32_t worst, writes;
};

namespace {
constexpr size_t LONGEST_TRACE = 1 << 14;  // of a thread between barriers; what follows is not counted

std::map<std::pair<uint32_t, bool>, BankRecord> bank_records;

struct Column {  // one request of a warp
  uint32_t pc = 0, lanes = 0;
  uint32_t offset[32];
  uint16_t size = 0;
  bool writes = false;
};

// Turns beyond the first of lanes [from, to).
uint32_t conflicts_of(const Column& column, int from, int to) {
  uint32_t words[32 * 5], count = 0;
  for (int lane = from; lane < to; ++lane) {
    if (!(column.lanes >> lane & 1)) continue;
    const uint32_t first = column.offset[lane] / 4, last = (column.offset[lane] + column.size - 1) / 4;
    for (uint32_t word = first; word <= last; ++word) words[count++] = word;
  }
  std::sort(words, words + count);
  count = uint32_t(std::unique(words, words + count) - words);
  uint32_t in_bank[32] = {}, most = 0;
  for (uint32_t i = 0; i < count; ++i) most = std::max(most, ++in_bank[words[i] % 32]);
  return most ? most - 1 : 0;
}

void record(uint32_t pc, bool writes, uint32_t requests, uint32_t conflicts, uint32_t worst) {
  BankRecord& known = bank_records[{pc, writes}];
  known.pc = pc;
  known.writes = writes;
  known.requests += requests;
  known.conflicts += conflicts;
  known.worst = std::max(known.worst, worst);
}

void count_column(const Column& column) {
  const int lanes = column.size > 8 ? 8 : column.size > 4 ? 16 : 32;
  uint32_t conflicts = 0, worst = 0;
  for (int from = 0; from < 32; from += lanes) {
    const uint32_t here = conflicts_of(column, from, from + lanes);
    conflicts += here;
    worst = std::max(worst, here + 1);
  }
  record(column.pc, column.writes, 1, conflicts, worst);
}

bool continues(const Column& whole, const Column& part) {
  const uint32_t size = whole.size + part.size;
  if (whole.lanes != part.lanes || whole.writes != part.writes || size > 16) return false;
  for (int lane = 0; lane < 32; ++lane) {
    if (whole.lanes >> lane & 1 && whole.offset[lane] + whole.size != part.offset[lane]) return false;
  }
  return true;
}

bool aligned_to(const Column& column, uint32_t size) {
  for (int lane = 0; lane < 32; ++lane) {
    if (column.lanes >> lane & 1 && column.offset[lane] % size) return false;
  }
  return true;
}

void count_columns(const std::vector<Column>& columns) {
  for (size_t i = 0; i < columns.size();) {
    // The longest run that is one aligned vector of 8 or 16 bytes.
    Column whole = columns[i];
    size_t best = i + 1;
    uint16_t size = whole.size;
    for (size_t j = i + 1; j < columns.size() && continues(whole, columns[j]); ++j) {
      whole.size = uint16_t(whole.size + columns[j].size);
      const bool vector = whole.size == 8 || whole.size == 16 || whole.size == 4;
      if (vector && aligned_to(whole, whole.size)) best = j + 1, size = whole.size;
    }
    whole.size = size;
    count_column(whole);
    i = best;
  }
}

void add(Column& column, int lane, const BankAccess& access) {
  column.pc = access.pc;
  column.size = access.size;
  column.writes = access.writes;
  column.offset[lane] = access.offset;
  column.lanes |= 1u << lane;
}

void count_warp(Thread* lanes, uint32_t present) {
  std::vector<Column> columns;
  bool uniform = true;
  const std::vector<BankAccess>& first = lanes[0].bank_trace;
  for (uint32_t lane = 1; lane < present && uniform; ++lane) {
    const std::vector<BankAccess>& other = lanes[lane].bank_trace;
    uniform = other.size() == first.size();
    for (size_t i = 0; uniform && i < first.size(); ++i) uniform = other[i].pc == first[i].pc;
  }
  if (uniform) {
    columns.resize(first.size());
    for (uint32_t lane = 0; lane < present; ++lane) {
      for (size_t i = 0; i < first.size(); ++i) add(columns[i], int(lane), lanes[lane].bank_trace[i]);
    }
  } else {
    std::map<std::pair<uint32_t, uint32_t>, size_t> known;  // place and how often before -> column
    for (uint32_t lane = 0; lane < present; ++lane) {
      std::unordered_map<uint32_t, uint32_t> times;
      for (const BankAccess& access : lanes[lane].bank_trace) {
        const auto found = known.try_emplace({access.pc, times[access.pc]++}, columns.size());
        if (found.second) columns.emplace_back();
        add(columns[found.first->second], int(lane), access);
      }
    }
  }
  count_columns(columns);
}
}  // namespace

void on_bank_access(Thread& self, uint32_t pc, uint64_t offset, uint32_t size, bool writes) {
  if (self.bank_trace.size() < LONGEST_TRACE && size <= 16) {
    self.bank_trace.push_back({pc, uint32_t(offset), uint16_t(size), writes});
  }
}

// The rows of 16 bytes of one matrix of ldmatrix or stmatrix: one turn, if they lie in different banks.
void count_rows(uint32_t pc, const uint64_t* rows, int count, bool writes) {
  Column column;
  column.size = 16;
  for (int i = 0; i < count; ++i) {
    column.offset[i] = uint32_t(rows[i]);
    column.lanes |= 1u << i;
  }
  const uint32_t conflicts = conflicts_of(column, 0, 8);
  record(pc, writes, 1, conflicts, conflicts + 1);
}

void count_banks(Block& block) {
  for (uint32_t start = 0; start < launch.threads; start += 32) {
    const uint32_t present = std::min(32u, launch.threads - start);
    bool any = false;
    for (uint32_t i = 0; i < present; ++i) any |= !block.threads[start + i].bank_trace.empty();
    if (!any) continue;
    count_warp(&block.threads[start], present);
    for (uint32_t i = 0; i < present; ++i) block.threads[start + i].bank_trace.clear();
  }
}

uint32_t take_banks(BankRecord* records, uint32_t capacity) {
  std::vector<BankRecord> all;
  for (auto& [key, known] : bank_records) all.push_back(known);
  std::sort(all.begin(), all.end(),
            [](const BankRecord& a, const BankRecord& b) { return a.conflicts > b.conflicts; });
  const auto count = uint32_t(std::min<size_t>(all.size(), capacity));
  std::copy_n(all.begin(), count, records);
  bank_records.clear();
  return count;
}

extern "C" void cuda_emu_banks_watched(int watched) { banks_watched = watched != 0; }
}  // namespace cuda_emulator
