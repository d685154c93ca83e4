"""Targets as data: architectures that code can be compiled for on any machine; imports `tuner.core` only."""
