"""conv2d in Triton.

`implicit_gemm` is the kernel with its space; `program` is the jitted function, which is imported by Triton
alone. The image matrix is never made: a program gathers its tiles by the taps.
"""
