"""Kernel autotuning lab."""
