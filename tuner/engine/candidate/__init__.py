"""A candidate's whole way on one device.

A `Workshop` builds and judges candidates of one device under one protocol; `evaluator` is what a sweep
needs of it, and `domain` says over which configurations and shapes a kernel is tried. `described` stands
for a device that is not there, `device_jobs` measures the device itself.
"""
