"""Source to artifact, one language each.

A builder is found by the registry by its class. Each folder holds those of one compiler with what they
need: `host` (C++ and Python libraries), `cuda` (NVRTC), `emulator` (CUDA for the CPU), `tvm`, `triton`.
"""
