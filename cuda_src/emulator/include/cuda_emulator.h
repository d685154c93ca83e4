// What every CUDA source has without an include, for the host compiler: included before its first line.
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

#include <type_traits>
#include <utility>

#include "cuda_emulator/api.h"
// Ours before the words become macros: `asm` is one of them.
#include "cuda_emulator/vectors.h"
#include "cuda_emulator/sync.h"
#include "cuda_emulator/math.h"
#include "cuda_emulator/integers.h"
#include "cuda_emulator/memory.h"
#include "cuda_emulator/atomics.h"
#include "cuda_emulator/launch.h"
#include "cuda_emulator/keywords.h"
