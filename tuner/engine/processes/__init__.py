"""Warm processes, what they fork, and how it ends.

A zygote imports what children need and forks them; `workers` starts zygotes on demand, `channel` is how one
talks to a child that may be broken, `limits` what a child may use. `locks` lets one measurement run at a
time, and `machine_faults` and `preflight` tell what the machine did from what a candidate did.
"""
