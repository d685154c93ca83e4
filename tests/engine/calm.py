"""The calm processor of `tests/plugins`, for tests that make it themselves."""

from tests.plugins.calm_cpu import CalmCpu

__all__ = ["CalmCpu"]
