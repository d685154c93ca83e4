"""Libraries people use for conv2d, one file each.

A baseline is timed as all kernels are, and computes the same: layouts and weights as a call brings them,
but for those that are named frozen, which prepare constant weights as a served model does. `prepare` gets
the arrays and returns the call. A library that is not installed is listed with the extra that installs it.
"""
