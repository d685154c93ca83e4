// Memory for packed operands: one block a calling thread, kept between calls, grown on demand, given back
// when the thread ends. The threads of a team write their parts first, so the pages lie near them.
#pragma once
#include <stdlib.h>

#include "simd.h"
#if HUGE_PAGES
#include <sys/mman.h>
#endif

struct Arena {
    Sum* memory = nullptr;
    int64_t capacity = 0;  // units of four bytes

    // At least `count` units, on a boundary of 4 KiB (2 MiB with HUGE_PAGES); null where there is no memory.
    // What was there before is lost.
    Sum* reserve(int64_t count) {
        if (count <= capacity) return memory;
        free(memory);
        memory = nullptr;
        capacity = 0;
        const size_t page = HUGE_PAGES ? size_t(2) << 20 : 4096;
        size_t bytes = (size_t(count) * sizeof(Sum) + page - 1) / page * page;
        void* fresh = nullptr;
        if (posix_memalign(&fresh, page, bytes)) return nullptr;
#if HUGE_PAGES
        // One TLB entry instead of 512. A refusal costs speed only.
        madvise(fresh, bytes, MADV_HUGEPAGE);
#endif
        memory = static_cast<Sum*>(fresh);
        capacity = int64_t(bytes / sizeof(Sum));
        return memory;
    }

    ~Arena() { free(memory); }
};
