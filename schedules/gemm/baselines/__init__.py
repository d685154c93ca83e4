"""Libraries people use for GEMM, one file each."""
