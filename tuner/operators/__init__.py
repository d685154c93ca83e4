"""Operators: what is computed, one file each; found by the registry.

An operator names dimensions and options, makes inputs from a seed, and has a float64 reference with a
tolerance and its source. It counts operations and bytes, and says which workloads have tensors of given
shapes. How anything is computed fast is no matter of an operator: that is kernels, in `cuda_src/` and
`schedules/`.
"""
