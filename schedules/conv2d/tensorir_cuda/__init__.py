"""conv2d as TensorIR for CUDA: an implicit GEMM whose tiles are gathered into shared memory.

`implicit_gemm` has the kernels and their spaces, on CUDA cores and on tensor cores. `program` puts windows
of images in the place of GEMM's first operand and `schedule` maps it as GEMM's. TVM makes CUDA C of them,
and NVRTC a cubin.
"""
