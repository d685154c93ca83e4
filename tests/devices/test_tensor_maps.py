"""What the driver is told of a tensor map, by a stand-in for its two functions; what a GPU does by it."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.core.tensor_map import TensorMap, Windows
from tuner.devices.cuda.tensor_maps import encoded

ADDRESS = 0x7F0000001000


class Driver:
    """Keeps what it was called with, as Python numbers."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.told = status, []

    def __call__(self, made: Any, *arguments: Any) -> int:
        for argument in arguments:
            self.told.append(list(argument) if isinstance(argument, ctypes.Array) else argument)
        self.told = [getattr(value, "value", value) for value in self.told]
        ctypes.memset(ctypes.addressof(made._obj), 7, 128)
        return self.status


def test_a_box_as_cutensormapencodetiled_takes_it() -> None:
    driver = Driver()
    made = encoded(TensorMap((40, 100, 3), (64, 32, 1), 2, 128), ADDRESS, driver)
    assert driver.told == [1, 3, ADDRESS, [40, 100, 3], [80, 8000], [64, 32, 1], [1, 1, 1], 0, 3, 3, 0]
    assert ctypes.addressof(made) % 64 == 0 and bytes(made) == b"\7" * 128


def test_windows_as_cutensormapencodeim2col_takes_them() -> None:
    """Corners and strides in the order of the dimensions; that of channels and images is 1."""
    driver, windows = Driver(), Windows((-1, -2), (-3, -4), (2, 5))
    encoded(TensorMap((64, 8, 9, 2), (32, 96), 1, 32, windows), ADDRESS, driver)
    kind, rank, address, dims, strides, lower, upper, channels, pixels, steps, *rest = driver.told
    assert (kind, rank, address, dims, strides) == (0, 4, ADDRESS, [64, 8, 9, 2], [64, 512, 4608])
    assert (lower, upper, channels, pixels, steps) == ([-1, -2], [-3, -4], 32, 96, [1, 2, 5, 1])
    assert rest == [0, 1, 3, 0]


@pytest.mark.parametrize(
    ("tensor", "function"),
    [
        (TensorMap((64, 8), (64, 8), 2), "cuTensorMapEncodeTiled"),
        (TensorMap((64, 8, 2), (64, 8), 2, 0, Windows((0,), (0,), (1,))), "cuTensorMapEncodeIm2col"),
    ],
)
def test_what_the_driver_refuses_is_named(tensor: TensorMap, function: str) -> None:
    with pytest.raises(RuntimeError, match=f"{function} refuses TensorMap.*CUDA error 1"):
        encoded(tensor, ADDRESS, Driver(1))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "shape",
    ["n3 c72 h9 w14 k72 r3 s3 pad1 nhwc residual", "n5 c72 h7 w7 k40 r1 s1 nhwc bias",
     "n3 c16 h11 w14 k72 r2 s3 pad_top2 pad_left1 pad_right3 stride2 dilation2 nhwc"],
)  # fmt: skip
def test_on_a_gpu_the_copy_engine_finds_windows_as_the_emulator_does(tmp_path: Path, shape: str) -> None:
    kernel = "cuda_conv_wgmma_tma"
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "sweep", "conv2d", "--shape", shape, "--dtype", "f16", "--device",
         "cuda:0", "--kernel", kernel, "--no-baselines", "--rounds", "0", "--trials", "6", "--json",
         "--db", str(tmp_path / "gpu.db")],
        capture_output=True, text=True,
    )  # fmt: skip
    if "lacks wgmma" in done.stderr:
        pytest.skip("another GPU than Hopper")
    assert done.returncode == 0, done.stderr
    (sweep,) = json.loads(done.stdout)["sweeps"].values()
    assert sweep["best"]["evidence"] == "measured" and not sweep["statuses"].get("wrong_result")
