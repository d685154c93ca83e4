"""GEMM in Triton."""
