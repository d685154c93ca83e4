// All of the emulator's headers, included before the first line of a CUDA source: a source's own macros (BIAS, M,
// TILE) can then not get into them, and the compiler reads them from a precompiled form. What a source includes
// itself (cuda_fp16.h, mma.h, ...) is found beside this file and adds nothing.
#pragma once
#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <limits>
#include <type_traits>
#include <utility>

#include "cuda_emulator/api.h"
// Ours before CUDA's words become macros.
#include "cuda_emulator/vectors.h"
#include "cuda_emulator/sync.h"
#include "cuda_emulator/math.h"
#include "cuda_emulator/integers.h"
#include "cuda_emulator/memory.h"
#include "cuda_emulator/atomics.h"
#include "cuda_emulator/half.h"
#include "cuda_emulator/bfloat16.h"
#include "cuda_emulator/wmma.h"
#include "cuda_emulator/pipeline.h"
#include "cuda_emulator/scopes.h"
#include "cuda_emulator/atomic.h"
#include "cuda_emulator/groups.h"
#include "cuda_emulator/fp8.h"
#include "cuda_emulator/ptx.h"
#include "cuda_emulator/launch.h"
#include "cuda_emulator/keywords.h"
