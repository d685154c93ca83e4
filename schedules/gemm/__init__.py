"""GEMM: kernels in Python, a folder a way of writing them.

`tensorir/` is TensorIR for the CPU, `tensorir_cuda/` the same for GPUs, `triton/` Triton, `baselines/` the
libraries people use. `options` has the operator's options, which all of them honour. C++ and CUDA kernels
are in `cuda_src/gemm/`.
"""
