#pragma once
#include "cuda_emulator/pipeline.h"
