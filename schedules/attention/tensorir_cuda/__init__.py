"""Attention as TensorIR for CUDA: the online softmax by hand."""
