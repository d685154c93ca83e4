"""TensorIR schedules, Triton kernels and library baselines: one file a kernel."""
