"""One file a revision, in the order of their numbers.

A revision drops no table and no column. It spells its tables and constraints out, since
`tuner.store.models` goes on changing. A database of a newer revision than the last one here is refused.
"""
