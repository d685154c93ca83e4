"""Kernels of somebody's program, as plain functions: tests make Triton kernels of them."""

import triton
import triton.language as tl


def add(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr, KIND: tl.constexpr = "right"):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    x = tl.load(x_ptr + i, mask)
    y = tl.load(y_ptr + i, mask)
    if KIND == "right":
        tl.store(out_ptr + i, x + y, mask)
    if KIND == "wrong":
        tl.store(out_ptr + i, x - y, mask)
    if KIND == "half":
        tl.store(out_ptr + i, x + y, mask & (i < n // 2))
    if KIND == "far":
        tl.store(out_ptr + i, x + y, mask)
        tl.store(y_ptr + i, x, mask)


def accumulate(x_ptr, out_ptr, n, BLOCK: tl.constexpr, TWICE: tl.constexpr = False):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    x = tl.load(x_ptr + i, mask)
    if TWICE:
        x = x * 2
    tl.store(out_ptr + i, tl.load(out_ptr + i, mask) + x, mask)


def grid(meta):
    return (triton.cdiv(meta["n"], meta["BLOCK"]),)
