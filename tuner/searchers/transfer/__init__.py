"""Search by a model that knows the same kernel from elsewhere.

`transfer` is the searcher. `sources` reads earlier observations, `warm` chooses the first trials by them.
"""
