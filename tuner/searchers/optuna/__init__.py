"""Optuna, both ways.

`samplers` makes Optuna's samplers searchers of ours, `bridge` makes ours samplers of Optuna.
"""
