"""The lab's abstractions: standard library and NumPy only, so every other folder may import them.

What a thing is stands here: `workload`, `space`, `kernel`, `target`, `device`, `builder`, `artifact`,
`measurement`, `trial`, `searcher`. So does what several folders need and none owns: kernels that declare
themselves (`source_kernel`, `kernel_header`), expressions, programs kept in limits (`contained`),
statistics (`stats`, `turns`).
"""
