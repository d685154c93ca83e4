"""GEMM as TensorIR for CUDA: threads bound, tiles in shared memory, tensor cores."""
