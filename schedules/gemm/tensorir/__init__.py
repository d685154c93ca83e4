"""GEMM as TensorIR for the CPU: hand-written schedules, and the plain program that MetaSchedule schedules.

`tiled` packs nothing; `packed` schedules the program of `blocks`, whose operands are packed (`pack`) into
register tiles (`tiles`). `function` writes what both have in common as TVMScript. `metaschedule` leaves the
schedule of `plain_program` to TVM.
"""
