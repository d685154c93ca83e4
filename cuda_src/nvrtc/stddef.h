// size_t and ptrdiff_t are NVRTC's own.
#pragma once
