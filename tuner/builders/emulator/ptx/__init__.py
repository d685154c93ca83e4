"""Inline PTX as C++ for the emulator.

`asm_statements` finds asm statements in preprocessed text, `ptx_text` reads their templates. `translate`
makes C++ of them by the tables in `arithmetic`, `data`, `warp`, `warpgroup` and `cluster`.
"""
