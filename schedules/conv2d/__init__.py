"""2-D convolution: kernels in Python, a folder a way of writing them.

`tensorir/` is TensorIR for the CPU, `tensorir_cuda/` the same for GPUs, `triton/` Triton, `baselines/` the
libraries people use. `options` has the operator's options, `shapes` a convolution as a product of matrices.
C++ and CUDA kernels are in `cuda_src/conv2d/`.
"""
