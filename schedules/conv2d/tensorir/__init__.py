"""conv2d as TensorIR for the CPU: a schedule by hand, and the plain program that MetaSchedule schedules.

`packed` schedules the blocks that `program` writes: padding, packed weights, a register tile of pixels and
channels. `metaschedule` leaves the schedule of `plain_program` to TVM. Sizes are the workload's, known to
the compiler.
"""
