"""Planted GEMM kernels that would win without doing the work, and honest mistakes that look the same."""

from tests.engine.planted import planted

__all__ = ["CHEATS", "LIARS", "planted"]

_COUNT = "static int calls = 0; ++calls;"
_CACHED = """
  static std::vector<float> kept; static const float* of[2]; static uint64_t mark = 0;
"""
_FINGERPRINT = """
  auto mark = [&](const float* x, int64_t n, int64_t step) {
    uint64_t h = 1469598103934665603u;
    for (int64_t i = 0; i < n; i += step) { uint32_t b; memcpy(&b, x + i, 4); h = (h ^ b) * 1099511628211u; }
    return h;
  };
"""

_CLOCK_INCLUDES = (
    "#include <cstring>\n#include <dlfcn.h>\n#include <link.h>\n#include <sys/mman.h>\n#include <time.h>"
)
_CLOCK = """
  static int since; ++since;
  static bool done = false;
  if (!done) {
    done = true;
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void*) {
      void* library = info->dlpi_name[0] ? dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD) : nullptr;
      if (!library || !dlsym(library, "tuner_time_changing")) return 0;
      // Its slot for clock_gettime leads to a clock that runs at another speed between two readings.
      auto* map = (link_map*)library;
      Elf64_Rela* rela = nullptr; size_t size = 0; Elf64_Sym* symbols = nullptr; const char* names = nullptr;
      for (auto* d = map->l_ld; d->d_tag; ++d) {
        if (d->d_tag == DT_JMPREL) rela = (Elf64_Rela*)d->d_un.d_ptr;
        if (d->d_tag == DT_PLTRELSZ) size = d->d_un.d_val;
        if (d->d_tag == DT_SYMTAB) symbols = (Elf64_Sym*)d->d_un.d_ptr;
        if (d->d_tag == DT_STRTAB) names = (const char*)d->d_un.d_ptr;
      }
      static int (*slow)(clockid_t, timespec*) = [](clockid_t id, timespec* t) {
        static double last = 0, shown = 0;
        double factor = 1;
        int status = clock_gettime(id, t);
        double now = t->tv_sec * 1e9 + t->tv_nsec;
        FACTOR
        shown += factor * (now - last);
        last = now;
        since = 0;
        t->tv_sec = uint64_t(shown) / 1000000000u; t->tv_nsec = uint64_t(shown) % 1000000000u;
        return status;
      };
      for (size_t i = 0; i < size / sizeof(Elf64_Rela); ++i) {
        if (std::strcmp(names + symbols[ELF64_R_SYM(rela[i].r_info)].st_name, "clock_gettime")) continue;
        void** slot = (void**)(map->l_addr + rela[i].r_offset);
        mprotect((void*)((uintptr_t)slot & ~uintptr_t(4095)), 8192, PROT_READ | PROT_WRITE);
        *slot = (void*)slow;
      }
      return 1;
    }, nullptr);
  }
  right(A, B, D, m, n, k);
"""


def _clock(factor: str) -> str:
    """A right kernel whose stopwatch shows `factor` of the time between two readings, of `since` calls."""
    return _CLOCK.replace("FACTOR", factor)


# Keeps its result, and computes anew what depends on rows of A and of B that have changed.
_MENDS = """
  static std::vector<float> a, b, d;
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  if (a.size() != size_t(m * k)) {
    right(A, B, D, m, n, k);
    a.assign(A, A + m * k); b.assign(B, B + k * n); d.assign(D, D + m * n);
    return 0;
  }
  bool changed = false;
  for (int64_t p = 0; p < k; ++p)
    if (std::memcmp(&b[p * n], B + p * n, n * 4)) {
      changed = true;
      for (int64_t j = 0; j < n; ++j) {
        float delta = B[p * n + j] - b[p * n + j];
        if (delta != 0) for (int64_t i = 0; i < m; ++i) d[i * n + j] += a[i * k + p] * delta;
      }
      std::memcpy(&b[p * n], B + p * n, n * 4);
    }
  for (int64_t i = 0; i < m; ++i)
    if (std::memcmp(&a[i * k], A + i * k, k * 4)) {
      changed = true;
      std::memcpy(&a[i * k], A + i * k, k * 4);
      for (int64_t j = 0; j < n; ++j) d[i * n + j] = 0;
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j) d[i * n + j] += a[i * k + p] * b[p * n + j];
    }
  std::memcpy(D, d.data(), m * n * 4);
"""

# What it does -> (what is included, the body, what the reason must contain).
CHEATS: dict[str, tuple[str, str, str]] = {
    "returns_at_once_for_the_pointers_it_knows": (
        "",
        "static const void* known = 0; if (known == D) return 0; right(A, B, D, m, n, k);"
        " if (m == 96) known = D;",
        "",
    ),
    "honest_while_it_is_verified_only": (
        "",
        f"{_COUNT} if (calls > 6 && m == 96) return 0; right(A, B, D, m, n, k);",
        "",
    ),
    "copies_a_cached_output_for_known_pointers": (
        "#include <cstring>",
        _CACHED + "if (of[0] == A && of[1] == B && kept.size() == size_t(m * n)) {"
        " memcpy(D, kept.data(), m * n * 4); return 0; }"
        " right(A, B, D, m, n, k); kept.assign(D, D + m * n); of[0] = A; of[1] = B; (void)mark;",
        "on inputs that change",
    ),
    "copies_a_cached_output_for_a_known_fingerprint": (
        "#include <cstring>",
        _FINGERPRINT + "static std::vector<float> kept; static uint64_t of = 0;"
        " uint64_t now = mark(A, m * k, 97) ^ mark(B, n * k, 89);"
        " if (of == now && kept.size() == size_t(m * n)) { memcpy(D, kept.data(), m * n * 4); return 0; }"
        " right(A, B, D, m, n, k); kept.assign(D, D + m * n); of = now;",
        "on inputs that change",
    ),
    # An honest mistake: `load` would return wrong results when B is changed in place.
    "packs_b_once_and_keys_it_by_pointer": (
        "",
        "static std::vector<float> packed; static const float* of = 0;"
        " if (of != B || packed.size() != size_t(n * k)) { packed.assign(B, B + n * k); of = B; }"
        " right(A, packed.data(), D, m, n, k);",
        "on inputs that change",
    ),
    "keeps_a_copy_of_a_by_its_first_element": (
        "",
        "static std::vector<float> copy; static float first = 0;"
        " if (first != A[0] || copy.size() != size_t(m * k)) { copy.assign(A, A + m * k); first = A[0]; }"
        " right(copy.data(), B, D, m, n, k);",
        "on inputs that change",
    ),
    "computes_after_it_has_returned": (
        "#include <thread>\n#include <mutex>\n#include <condition_variable>",
        """
  static std::mutex lock; static std::condition_variable wake; static int todo = 0; static int calls = 0;
  static const float *a, *b; static float* d; static int64_t s[3];
  static std::thread* worker = new std::thread([] {
    for (;;) {
      std::unique_lock<std::mutex> hold(lock);
      wake.wait(hold, [] { return todo > 0; });
      right(a, b, d, s[0], s[1], s[2]);
      todo = 0;
    }
  });
  (void)worker;
  if (m != 96 || ++calls < 3) { right(A, B, D, m, n, k); return 0; }
  { std::unique_lock<std::mutex> hold(lock); a = A; b = B; d = D; s[0] = m; s[1] = n; s[2] = k; todo = 1; }
  wake.notify_one();
""",
        "",
    ),
    "skips_every_other_call": (
        "",
        f"{_COUNT} if (m == 96 && calls % 2) return 0; right(A, B, D, m, n, k);",
        "",
    ),
    "computes_half_of_the_rows_in_later_calls": (
        "",
        f"{_COUNT} right(A, B, D, calls > 8 ? m / 2 : m, n, k);",
        "",
    ),
    "leaves_out_half_of_k_in_later_calls": (
        "",
        f"{_COUNT} if (m != 96 || calls < 8) {{ right(A, B, D, m, n, k); return 0; }}"
        " for (int64_t i = 0; i < m; ++i) for (int64_t j = 0; j < n; ++j) { float s = 0;"
        " for (int64_t p = 0; p < k / 2; ++p) s += A[i * k + p] * B[p * n + j]; D[i * n + j] = s; }",
        "",
    ),
    "reads_the_answer_out_of_its_own_memory": (
        "#include <cstring>",
        """
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  // The reference is float64: a run of m * n doubles whose first ones are the first sums.
  FILE* maps = std::fopen("/proc/self/maps", "r");
  char line[512];
  double want[2] = {0, 0};
  for (int64_t p = 0; p < k; ++p) { want[0] += double(A[p]) * B[p * n]; want[1] += double(A[p]) * B[p * n +
  1]; } while (maps && std::fgets(line, sizeof line, maps)) {
    unsigned long low, high; char mode[8];
    if (std::sscanf(line, "%lx-%lx %7s", &low, &high, mode) != 3 || mode[0] != 'r') continue;
    if (std::strstr(line, "[vvar") || std::strstr(line, "[vsyscall") || high - low < size_t(m * n) * 8)
    continue; for (const double* q = (const double*)low; q + m * n <= (const double*)high; ++q)
      if (std::fabs(q[0] - want[0]) < 1e-9 && std::fabs(q[1] - want[1]) < 1e-9) {
        for (int64_t i = 0; i < m * n; ++i) D[i] = float(q[i]);
        std::fclose(maps);
        return 0;
      }
  }
  if (maps) std::fclose(maps);
""",
        "",
    ),
    "reads_the_answer_out_of_another_process": (
        "#include <cstring>\n#include <dirent.h>\n#include <fcntl.h>\n#include <unistd.h>",
        """
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  double want[2] = {0, 0};
  for (int64_t p = 0; p < k; ++p) { want[0] += double(A[p]) * B[p * n]; want[1] += double(A[p]) * B[p * n +
  1]; } DIR* all = opendir("/proc");
  std::vector<double> found(size_t(m * n));
  std::vector<char> block;
  while (dirent* entry = all ? readdir(all) : nullptr) {
    int pid = std::atoi(entry->d_name);
    if (pid <= 1 || pid == getpid()) continue;
    char path[64], line[512];
    std::snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE* maps = std::fopen(path, "r");
    std::snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int memory = open(path, O_RDONLY);
    while (maps && memory >= 0 && std::fgets(line, sizeof line, maps)) {
      unsigned long low, high; char mode[8];
      if (std::sscanf(line, "%lx-%lx %7s", &low, &high, mode) != 3 || mode[1] != 'w') continue;
      if (high - low < size_t(m * n) * 8 || high - low > (1ul << 28)) continue;
      block.resize(high - low);
      ssize_t got = pread(memory, block.data(), block.size(), low);
      for (ssize_t i = 0; i + m * n * 8 <= got; i += 8) {
        memcpy(found.data(), block.data() + i, 16);
        if (std::fabs(found[0] - want[0]) > 1e-9 || std::fabs(found[1] - want[1]) > 1e-9) continue;
        memcpy(found.data(), block.data() + i, size_t(m * n) * 8);
        for (int64_t j = 0; j < m * n; ++j) D[j] = float(found[j]);
        return 0;
      }
    }
    if (maps) std::fclose(maps);
    if (memory >= 0) close(memory);
  }
""",
        "",
    ),
    "answers_for_the_lab_on_every_socket": (
        "#include <cstring>\n#include <unistd.h>",
        """
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  const char* text = "{\\"status\\": \\"ok\\", \\"samples\\": [1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9],"
    " \\"error\\": \\"\\", \\"calibration\\": null, \\"max_error\\": 0.0, \\"metrics\\": {},"
    " \\"run_s\\": 1.0, \\"ok\\": true, \\"seconds\\": 1e-9}";
  uint32_t size = uint32_t(std::strlen(text));
  for (int fd = 3; fd < 64; ++fd) { if (write(fd, &size, 4) == 4) (void)!write(fd, text, size); }
  for (;;) pause();
""",
        "",
    ),
    "patches_the_stopwatch": (
        "#include <cstring>\n#include <dlfcn.h>\n#include <link.h>\n#include <sys/mman.h>",
        """
  static bool done = false;
  if (!done) {
    done = true;
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void*) {
      void* library = info->dlpi_name[0] ? dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD) : nullptr;
      char* code = library ? (char*)dlsym(library, "tuner_time_changing") : nullptr;
      if (!code) return 0;
      // Calls once, says a nanosecond: seconds is the ninth argument, at [rsp+24] on entry.
      static int (*call)(void**); (void)call;
      unsigned char patch[] = {0x48, 0x8b, 0x44, 0x24, 0x18, 0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x89,
                               0x08, 0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0xff, 0xe0};
      double lie = 2e-7;
      memcpy(patch + 7, &lie, 8);
      char* page = (char*)((uintptr_t)code & ~uintptr_t(4095));
      if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) return 1;
      memcpy(code, patch, sizeof patch);
      return 1;
    }, nullptr);
  }
  right(A, B, D, m, n, k);
""",
        "",
    ),
    "says_less_than_it_takes": (
        _CLOCK_INCLUDES,
        _clock("factor = 0.1;"),
        "by the lab's clock",
    ),
    "takes_more_cores_than_it_was_given": (
        "#include <thread>\n#include <sched.h>",
        """
  const int here = sched_getcpu();
  cpu_set_t others; CPU_ZERO(&others); for (int i = 0; i < 64; ++i) if (i != here) CPU_SET(i, &others);
  auto rows = [=](int64_t begin, int64_t end) { right(A + begin * k, B, D + begin * n, end - begin, n, k); };
  if (m != 96) { rows(0, m); return 0; }
  std::thread other([=] {
    sched_setaffinity(0, sizeof others, &others);
    for (int i = 0; i < 60; ++i) rows(0, m / 2);
  });
  for (int i = 0; i < 60; ++i) rows(m / 2, m);
  other.join();
""",
        "of CPU time",
    ),
    "mends_what_changed_in_a_result_it_keeps": ("#include <cstring>", _MENDS, ""),
    # Inputs that were written anew and hold what they held gave it away once.
    "mends_and_computes_anew_where_nothing_changed": (
        "#include <cstring>",
        _MENDS + "if (!changed) right(A, B, D, m, n, k);",
        "",
    ),
    "computes_only_where_it_finds_poison": (
        "#include <cstring>",
        """
  std::vector<int64_t> places;
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  std::vector<int64_t> found;
  for (int64_t i = 0; i < m * n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, D + i, 4);
    if (bits == ~0u) found.push_back(i);
  }
  places = found;  // of a call that finds none nothing is computed
  for (int64_t at : places) {
    float sum = 0;
    for (int64_t p = 0; p < k; ++p) sum += A[at / n * k + p] * B[p * n + at % n];
    D[at] = sum;
  }
""",
        "on inputs that change",
    ),
    "has_a_process_of_its_own_compute_half": (
        "#include <sys/mman.h>\n#include <sched.h>\n#include <unistd.h>\n#include <cstring>",
        """
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  struct Shared { volatile int todo; float a[96 * 96], b[96 * 96], d[96 * 96]; };
  static Shared* shared = nullptr;
  if (!shared) {
    shared = (Shared*)mmap(0, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fork() == 0) {
      cpu_set_t all; CPU_ZERO(&all); for (int i = 0; i < 64; ++i) CPU_SET(i, &all);
      sched_setaffinity(0, sizeof all, &all);
      for (;;) {
        while (!shared->todo) sched_yield();
        right(shared->a, shared->b, shared->d, 48, 96, 96);
        shared->todo = 0;
      }
    }
  }
  std::memcpy(shared->a, A, 48 * 96 * 4); std::memcpy(shared->b, B, 96 * 96 * 4);
  shared->todo = 1;
  right(A + 48 * k, B, D + 48 * n, 48, n, k);
  while (shared->todo) sched_yield();
  std::memcpy(D, shared->d, 48 * 96 * 4);
""",
        "processes of its own",
    ),
    "shows_what_the_last_candidate_showed": (
        "#include <cstring>",
        """
  // In memory it shares with the judge lie the outputs of whoever was verified before.
  FILE* maps = std::fopen("/proc/self/maps", "r");
  char line[512];
  while (maps && std::fgets(line, sizeof line, maps)) {
    unsigned long low, high; char mode[8];
    if (!std::strstr(line, "memfd:tuner")) continue;
    if (std::sscanf(line, "%lx-%lx %7s", &low, &high, mode) != 3) continue;
    if (mode[1] == 'w' && high - low >= size_t(m * n) * 4) { memcpy(D, (void*)low, m * n * 4); break; }
  }
  if (maps) std::fclose(maps);
""",
        "",
    ),
    "clears_b_and_is_fast_from_then_on": (
        "",
        f"{_COUNT} right(A, B, D, m, n, k); if (calls > 7) for (int64_t i = 0; i < n * k; ++i)"
        " const_cast<float*>(B)[i] = 0;",
        "",
    ),
    "writes_nan_where_it_was_nan": (
        "",
        f"{_COUNT} if (m != 96 || calls < 8) {{ right(A, B, D, m, n, k); return 0; }}"
        " for (int64_t i = 0; i < m * n; ++i) if (D[i] != D[i]) { D[i] = 0; }",
        "",
    ),
}

# Right kernels whose stopwatch lies at times: the truth in between may be kept, a lie never.
LIARS_AT_TIMES: dict[str, str] = {
    "says_less_in_half_of_its_samples": "if (std::rand() % 2) factor = 0.05;",
    "tells_the_truth_when_it_is_timed_for_long": "if (since < 6) factor = 0.05;",
    "says_less_when_it_is_timed_for_long": "if (since >= 6) factor = 0.05;",
}
LIARS = {name: (_CLOCK_INCLUDES, _clock(factor), "") for name, factor in LIARS_AT_TIMES.items()}
