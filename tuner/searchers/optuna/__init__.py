"""Optuna, both ways.

`samplers` makes Optuna's samplers searchers of ours. `bridge` makes ours samplers of Optuna, for studies of
somebody's own.
"""
