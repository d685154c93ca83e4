"""TVM's MetaSchedule, driven from outside.

`metaschedule` is the searcher. `evolution` and `island` run its populations, `gpu_draws`, `intrinsics` and
`copies` give it what its rules lack.
"""
