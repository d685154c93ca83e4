#pragma once
#include "cuda_emulator/half.h"
