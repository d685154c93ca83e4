#pragma once
#include "cuda_emulator/bfloat16.h"
#include "cuda_emulator/half.h"
#include "cuda_emulator/wmma.h"
