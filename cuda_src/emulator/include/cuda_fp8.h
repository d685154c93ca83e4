#pragma once
#include "cuda_emulator/fp8.h"
