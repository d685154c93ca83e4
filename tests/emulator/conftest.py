"""The emulator needs g++; without it these tests are skipped and say so."""

import pytest

from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if reason := CudaEmulatedBuilder().unavailable():
        pytest.skip(reason)
