"""Looking at one candidate instead of searching among many.

`check` tells whether a GPU kernel is right and free of races on a machine without a GPU. `inspect` shows
every stage from source to machine code.
"""
