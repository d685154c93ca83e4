"""GEMM in Triton.

`gemm` is the kernel with its space; `program` is the jitted function, which is imported by Triton alone.
What lies between the two, types, sums and activations, is shared with the other operators (`triton_types`,
`triton_sums`, `triton_activations`).
"""
