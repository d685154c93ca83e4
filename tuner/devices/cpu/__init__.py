"""The machine's own processor.

`device` is the device; `info`, `load` and `targets` say what it is, who else uses it and what it can do.
`runtime` is its compiled helper, `callable` loads library calls.
"""
