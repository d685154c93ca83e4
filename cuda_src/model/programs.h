// The programs that are the same for every model. Elementwise ones are written for theirs.
#pragma once
#include "local_response.h"
#include "moves.h"
#include "pooling.h"
#include "rows.h"
#include "walk.h"

EXPORTED void move1(const int64_t* p, void* const* a) { move<int8_t>(p, a); }
EXPORTED void move2(const int64_t* p, void* const* a) { move<int16_t>(p, a); }
EXPORTED void move4(const int64_t* p, void* const* a) { move<int32_t>(p, a); }
EXPORTED void move8(const int64_t* p, void* const* a) { move<int64_t>(p, a); }
EXPORTED void max_pool(const int64_t* p, void* const* a) { pool<false>(p, a); }
EXPORTED void average_pool(const int64_t* p, void* const* a) { pool<true>(p, a); }
EXPORTED void row_means(const int64_t* p, void* const* a) { mean_rows(p, a); }
EXPORTED void softmax(const int64_t* p, void* const* a) { softmax_rows(p, a); }
EXPORTED void local_response(const int64_t* p, void* const* a) { respond_rows(p, a); }
EXPORTED void layer_norm(const int64_t* p, void* const* a) { normalise_rows(p, a); }
