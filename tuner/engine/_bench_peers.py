"""Kernel Tuner's strategies on the same files, in its own simulation mode, when it is installed."""
