// Calls of kernels and programs, one after the other: between two of them lies no interpreter.
#pragma once
#include "team.h"

struct Step {
    void* function;
    void** addresses;
    const int64_t* numbers;  // null for a kernel
};

// The place of the kernel that failed, with what it returned in `status`; `count` where none did.
EXPORTED int64_t walk(const Step* steps, int64_t count, int* status) {
    for (int64_t place = 0; place < count; place++) {
        const Step& step = steps[place];
        if (step.numbers) {
            reinterpret_cast<void (*)(const int64_t*, void* const*)>(step.function)(step.numbers, step.addresses);
        } else if ((*status = reinterpret_cast<int (*)(void**)>(step.function)(step.addresses))) {
            return place;
        }
    }
    return count;
}
