"""conv2d as TensorIR for CUDA: an implicit GEMM whose tiles are gathered into shared memory."""
