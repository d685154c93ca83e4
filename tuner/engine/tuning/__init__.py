"""Searching: sweeps, races, finals and campaigns.

A `sweep` tunes one kernel, a `race` all kernels of a workload, a final (`finals`) decides between them and
the libraries, a `campaign` is all of that and a `series` many campaigns. `experiment` reads them from a
file, `compile_only` sweeps for a GPU that is not there.
"""
