"""NVIDIA GPUs.

`device` is the device; `context` its connection, `executable` what runs there, `memory` guarded memory,
`state` clocks and temperatures. `facts` says which GPUs this machine has.
"""
