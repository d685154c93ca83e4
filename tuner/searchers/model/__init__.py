"""Search by a model.

`surrogate` is the searcher: a Gaussian process of log time (`gp`, `covariance`, `targets`) and boosted
trees for failures (`failures`), over `candidates` described by `features`. `model` is what it shares with
`transfer`.
"""
