"""What others measured, or we did earlier.

`exchange` and `traces` bring recorded spaces and MetaSchedule's databases in and out of the store.
`replay_sweep` and `bench_searchers` run searchers on them: in trials and on a simulated clock, nothing is
measured.
"""
