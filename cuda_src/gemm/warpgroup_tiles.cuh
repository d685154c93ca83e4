// Tiles of op(A) and op(B) that warpgroups multiply, as so many threads fetch them: rungs 12 and 13.
#pragma once
#include "gemm.cuh"

#include "../common/warpgroup_tiles.cuh"

template <int FETCHING>
using TileOfA = Panels<In, !OPT_TRANS_A, BM, BK, FETCHING>;
template <int FETCHING>
using TileOfB = Panels<In, bool(OPT_TRANS_B), BN, BK, FETCHING>;
