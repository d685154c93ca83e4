"""Triton.

`triton_jit` compiles to cubins for an explicit target, with or without a GPU. `interpreter` runs a Triton
kernel in a process of its own: right or wrong, never a time.
"""
