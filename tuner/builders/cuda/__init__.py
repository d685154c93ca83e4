"""CUDA C++ to cubin, and what a cubin tells.

`nvrtc` is the builder, `nvrtc_program` its compiler. `cubin` reads resources, registers among them, from
ELF sections, `sass` counts the machine code's main loop, `gpu_metrics` makes both the metrics of an
artifact.
"""
