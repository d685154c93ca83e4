"""Libraries people use for attention, one file each.

A baseline is timed as all kernels are. Its file says how the library is called: `prepare` gets the arrays
and returns the call, with transposes and gathers of pages in it where the library needs them. A library
that is not installed is listed with the extra that installs it.
"""
