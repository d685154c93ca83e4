"""Out of the lab: what the store knows, in the forms in which other programs take it.

`matrix`, `cover`, `tree` and `rule` make one rule for all shapes of what was tuned shape by shape. `formats/`
writes other programs' files, `library/` a shared library. `verify` says later whether what was exported still
holds.
"""
