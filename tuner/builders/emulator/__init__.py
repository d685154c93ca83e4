"""CUDA C++ to a library of the host.

`cuda_emulated` is the builder, `library` how a `.cu` file becomes C++ for the emulator in
`cuda_src/emulator`. Inline PTX is translated in `ptx/`.
"""
