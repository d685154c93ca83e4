"""Where an artifact runs and is timed.

A device is found by the registry by its class: `cpu/device.py`, `cuda/device.py`, `emulator/device.py`.
`replay` serves recorded times and is no device.
"""
