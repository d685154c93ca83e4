#pragma once
#include "cuda_emulator/bfloat16.h"
