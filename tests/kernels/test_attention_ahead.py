"""Keys and values in a layout of the kernel's own; f32 as sums of bf16: what is of these kernels alone.

tests/kernels/test_attention.py and test_special_values.py run them on random shapes and special values,
tests/engine/test_growing.py on a cache that grows.
"""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.attention_cases import ATTENTION
from tests.kernels.running import Run, lacking, with_tiles
from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import special_mismatch
from tuner.core.tensors import Tensors
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice

HERE = with_tiles(CpuDevice().target)
PAGES = {"PAGE": 16, "ROWS": 4, "COLUMNS": 1, "PREFETCH": 32, "SPLIT_KV": 1, "threads": 1}


@pytest.mark.parametrize(
    "shape",
    [
        "b1 h2 q5 kv77 d128 causal frozen",
        pytest.param("b2 h12 q1 kv300 d72 kv_heads2 frozen", marks=pytest.mark.slow),
    ],
)
def test_parts_of_the_keys_are_combined(shape: str, tmp_path: Path) -> None:
    kernel, workload = registry.kernel("attn_decode_ahead"), ATTENTION.parse(shape)
    config = {**kernel.space(workload, HERE).nearest(PAGES), "SPLIT_KV": 4, "threads": 2}
    error, where = Run(kernel, workload, config, HERE, tmp_path).error(workload)
    assert error <= 1, where


def test_a_paged_cache_is_not_frozen() -> None:
    with pytest.raises(InvalidWorkload, match="leave out paged"):
        ATTENTION.parse("b1 h2 q1 kv30 d16 paged frozen")


def infinite_keys(workload: Workload, seed: int) -> Tensors:
    """An infinity in a key of each head: for a query with the other sign there the logit is -inf."""
    inputs = ATTENTION.inputs(workload, seed)
    inputs["K"][:, :, 5, 3] = np.inf
    inputs["Q"][:, :, ::2, 3] = -1.0  # its lower parts are 0, which times an infinity is a NaN
    return inputs


def test_an_infinite_key_hides_itself_where_its_logit_is_negative(tmp_path: Path) -> None:
    kernel = registry.kernel("attn_amx_split")
    if missing := lacking(kernel, HERE, "f32"):
        pytest.skip(f"this processor lacks {min(missing)}")
    workload = ATTENTION.parse("1x2x40x70x24")
    config = kernel.space(workload, HERE).sample(random.Random(1))
    run = Run(kernel, workload, config, HERE, tmp_path)
    inputs = infinite_keys(workload, 2)
    reference = ATTENTION.reference(workload, inputs)
    tolerance = ATTENTION.tolerance(workload, inputs, reference)
    assert np.isfinite(reference["O"][:, :, ::2]).all() and np.isnan(reference["O"]).any()
    assert special_mismatch(run.computed(workload, inputs), reference, tolerance) is None
