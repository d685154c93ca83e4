"""The CUDA emulator as a device: right or wrong, never a time.

`device` is the device; `check` runs a kernel in a process of its own (`child`), `findings` reads what the
sanitizers recorded, `words` puts it into words. `banks` counts what shared memory's banks have to repeat.
"""
