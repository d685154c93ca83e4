"""Planted GEMM kernels that keep their result, mend what changed, and guess which calls are compared."""

__all__ = ["AFTER_PAUSES", "FOR_ONE_CALLER"]

_INCLUDES = "#include <cstring>\n#include <dlfcn.h>\n#include <time.h>"
_MENDS = """
  static std::vector<float> a, b, d;
  static double last = 0;
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  auto now = [] { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; };
  struct Leave { decltype(now)& clock; ~Leave() { last = clock(); } } leave{now};
  bool in_full = a.empty();
  GUESS
  int64_t rows = 0;
  for (int64_t p = 0; !in_full && p < k; ++p) rows += !!std::memcmp(&b[p * n], B + p * n, n * 4);
  for (int64_t i = 0; !in_full && i < m; ++i) rows += !!std::memcmp(&a[i * k], A + i * k, k * 4);
  if (in_full || rows > 16) {
    right(A, B, D, m, n, k);
    a.assign(A, A + m * k); b.assign(B, B + k * n); d.assign(D, D + m * n);
    return 0;
  }
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) {
      float delta = B[p * n + j] - b[p * n + j];
      if (delta == 0) continue;
      for (int64_t i = 0; i < m; ++i) d[i * n + j] += a[i * k + p] * delta;
      b[p * n + j] = B[p * n + j];
    }
  for (int64_t i = 0; i < m; ++i)
    if (std::memcmp(&a[i * k], A + i * k, k * 4)) {
      std::memcpy(&a[i * k], A + i * k, k * 4);
      right(&a[i * k], b.data(), &d[i * n], 1, n, k);
    }
  std::memcpy(D, d.data(), m * n * 4);
"""
_CALLED = """
  void** frame = (void**)__builtin_frame_address(0);
  bool timed = false;
  for (int i = 0; i < 64 && !timed; ++i) {
    Dl_info found;
    if (!dladdr(frame[i], &found) || !found.dli_sname) continue;
    timed = !std::strcmp(found.dli_sname, "tuner_time_changing");
  }
  in_full |= !timed;
"""

# What is included, and the body.
AFTER_PAUSES = _INCLUDES, _MENDS.replace("GUESS", "in_full |= now() - last > 2e-4;")
FOR_ONE_CALLER = _INCLUDES, _MENDS.replace("GUESS", _CALLED)
