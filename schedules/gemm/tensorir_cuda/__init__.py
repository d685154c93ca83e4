"""GEMM as TensorIR for CUDA: threads bound, tiles in shared memory, tensor cores.

`tiled` and `wmma` are the kernels and their spaces; `program` writes the program, `schedule` maps it to
blocks and threads. Sizes are the workload's, known to the compiler. TVM makes CUDA C of them, and NVRTC a
cubin.
"""
