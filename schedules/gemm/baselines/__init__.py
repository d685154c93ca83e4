"""Libraries people use for GEMM, one file each.

A baseline has no parameters that its user would not set, and is timed as all kernels are. Its file says how
the library is called: `prepare` gets the arrays and returns the call. A library that is not installed is
listed with the extra that installs it.
"""
