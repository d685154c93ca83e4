"""TensorIR through TVM.

`tensorir` builds for the CPU, `tensorir_cuda` for GPUs: TVM writes CUDA C (`cuda_program`), NVRTC compiles
it. `trace` applies a MetaSchedule trace to its program.
"""
