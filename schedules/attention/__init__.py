"""Scaled dot-product attention: kernels in Python, a folder a way of writing them.

`tensorir/` is TensorIR for the CPU, `tensorir_cuda/` the same for GPUs, `triton/` Triton, `baselines/` the
libraries people use. `options` has the operator's options and which keys a query sees. C++ and CUDA kernels
are in `cuda_src/attention/`.
"""
