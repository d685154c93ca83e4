"""The host's compiler, and libraries that need none.

`cxx` is the builder of C++ kernels, `python_callable` the one of library baselines. `host_code` finds code
that would run as soon as a library is loaded, `link` links what others compiled.
"""
