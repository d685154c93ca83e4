"""GEMM as TensorIR for the CPU: hand-written schedules, and the plain program that MetaSchedule schedules."""
