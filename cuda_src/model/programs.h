// The programs that are the same for every model. Elementwise ones are written for theirs.
#pragma once
#include "gather.h"
#include "integer_pooling.h"
#include "local_response.h"
#include "moves.h"
#include "pooling.h"
#include "rows.h"
#include "walk.h"

EXPORTED void move1(const int64_t* p, void* const* a) { move<int8_t>(p, a); }
EXPORTED void move2(const int64_t* p, void* const* a) { move<int16_t>(p, a); }
EXPORTED void move4(const int64_t* p, void* const* a) { move<int32_t>(p, a); }
EXPORTED void move8(const int64_t* p, void* const* a) { move<int64_t>(p, a); }
EXPORTED void gather(const int64_t* p, void* const* a) { gather_arrays(p, a); }
EXPORTED void flip(const int64_t* p, void* const* a) { flip_bytes(p, a); }
EXPORTED void max_pool(const int64_t* p, void* const* a) { pool<false, float>(p, a); }
EXPORTED void max_pool_s8(const int64_t* p, void* const* a) { pool<false, int8_t>(p, a); }
EXPORTED void max_pool_u8(const int64_t* p, void* const* a) { pool<false, uint8_t>(p, a); }
EXPORTED void average_pool(const int64_t* p, void* const* a) { pool<true, float>(p, a); }
EXPORTED void average_integers_s8(const int64_t* p, void* const* a) { average_integers<int8_t>(p, a); }
EXPORTED void average_integers_u8(const int64_t* p, void* const* a) { average_integers<uint8_t>(p, a); }
EXPORTED void mean_integers_s8(const int64_t* p, void* const* a) { mean_integer_rows<int8_t>(p, a); }
EXPORTED void mean_integers_u8(const int64_t* p, void* const* a) { mean_integer_rows<uint8_t>(p, a); }
EXPORTED void row_means(const int64_t* p, void* const* a) { mean_rows(p, a); }
EXPORTED void softmax(const int64_t* p, void* const* a) { softmax_rows(p, a); }
EXPORTED void local_response(const int64_t* p, void* const* a) { respond_rows(p, a); }
EXPORTED void layer_norm(const int64_t* p, void* const* a) { normalise_rows(p, a); }
