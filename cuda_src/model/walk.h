// Calls of kernels and programs, one after the other: between two of them lies no interpreter.
#pragma once
#include "team.h"

struct Step {
    void* function;
    void** addresses;
    const int64_t* numbers;  // null for a kernel
};

// 0, or what the kernel that failed returned.
EXPORTED int walk(const Step* steps, int64_t count) {
    for (const Step* step = steps; step != steps + count; step++) {
        if (step->numbers) {
            reinterpret_cast<void (*)(const int64_t*, void* const*)>(step->function)(step->numbers, step->addresses);
        } else if (const int status = reinterpret_cast<int (*)(void**)>(step->function)(step->addresses)) {
            return status;
        }
    }
    return 0;
}
