"""Attention as TensorIR for the CPU: schedules by hand, and the plain program that MetaSchedule schedules.

`flash` schedules the blocks that `program` writes; `vectors` writes their arithmetic in whole vectors, the
exponential among it. `metaschedule` leaves the schedule of `plain_program` to TVM. Sizes are the
workload's, known to the compiler.
"""
