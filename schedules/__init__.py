"""Kernels written in Python, a folder an operator; imported as `tuner.schedules`.

Files directly here are what the operators share: `library` for baselines, `scheduled` and `traced` for
TensorIR, `product_tiles` for tiles of products on GPUs. A kernel is a class with a `name`, found by the
registry. C++ and CUDA kernels lie in `cuda_src/`.
"""
