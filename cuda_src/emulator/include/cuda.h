// Its device side is in cuda_emulator.h, which every source has; there is no host API to emulate.
