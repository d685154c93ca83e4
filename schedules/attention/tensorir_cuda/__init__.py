"""Attention as TensorIR for CUDA: the online softmax by hand.

`flash` is the kernel with its space. `program` writes one GPU kernel with its threads bound; TVM inserts
the barriers and makes CUDA C of it, and NVRTC a cubin.
"""
