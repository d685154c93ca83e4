"""Tuned kernels as a shared library for programs without Python.

`plan` decides what goes in. `header` and `dispatcher` write the C and C++ text, `objects` and `build` compile
and link. `package` adds what pkg-config and CMake read, `cubins` puts GPU kernels beside it.
"""
