"""Arithmetic of whole numbers."""


def ceildiv(a: int, b: int) -> int:
    """The quotient rounded up."""
    return -(-a // b)
