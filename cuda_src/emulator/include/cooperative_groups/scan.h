#pragma once
#include "../cuda_emulator/groups.h"
