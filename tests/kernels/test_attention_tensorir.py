"""The TensorIR attention: its exponential errs as stated and is none of libm, each of its paths is right."""

from pathlib import Path

import numpy as np
import pytest

from tests.kernels.attention_cases import ATTENTION
from tests.kernels.running import Run
from tuner import registry
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice, named_targets
from tuner.schedules.attention.tensorir import vectors

HERE = CpuDevice().target
KERNEL = registry.kernel("attn_tir")
STATED = 1.94e-7
ARCHES = [
    arch
    for arch in ("x86_64", "avx2", "avx512")
    if set(named_targets()[f"cpu:{arch}"].features) <= set(HERE.features)
]


def configuration(workload: Workload, target: Target, **wanted: object) -> Config:
    """A valid configuration with the given values."""
    return next(c for c in KERNEL.space(workload, target) if all(c[k] == v for k, v in wanted.items()))


@pytest.mark.parametrize("layout", ["queries", "head"])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.sampled(1, each="layout")
def test_the_error_of_its_exponential_is_as_stated(arch: str, layout: str, tmp_path: Path) -> None:
    """Keys of scores 0 and x <= 0, one-hot values: the outputs' ratio is 2^(x * log2(e)) as computed."""
    target = named_targets()[f"cpu:{arch}"]
    h, q = (1, 8192) if layout == "queries" else (2048, 4)
    workload = ATTENTION.workload(b=1, h=h, q=q, kv=2, d=16, scale=1.0)
    config = configuration(workload, target, LAYOUT=layout, SPLIT_KV=1)
    executable = CpuDevice().load(Run(KERNEL, workload, config, target, tmp_path).artifact)
    x = -np.linspace(0, 87, 8192).astype(np.float32)
    tensors = {spec.name: np.zeros(spec.shape, np.float32) for spec in ATTENTION.signature(workload)}
    tensors["Q"][0, :, :, 0] = x.reshape(h, q)
    tensors["K"][0, :, 1, 0] = tensors["V"][0, :, 0, 0] = tensors["V"][0, :, 1, 1] = 1
    executable.bind(tensors)
    executable.run()
    p = tensors["O"][0, :, :, 1].astype(np.float64).ravel() / tensors["O"][0, :, :, 0].ravel()
    exponent = x * np.float32(1.4426950408889634)  # rounded once, as the kernel does
    # Both outputs are rounded once more: 2^-24 each.
    assert np.abs(p / np.exp2(exponent.astype(np.float64)) - 1).max() <= STATED + 2 * 2.0**-24
    assert "1.94e-7" in Path(vectors.__file__).read_text()


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("b1 h2 q70 kv131 d40 causal", {"LAYOUT": "queries", "PACK_K": "ahead", "PACK_V": "ahead"}),
        ("b2 h4 q33 kv300 d64 kv_heads2", {"LAYOUT": "queries", "SPLIT_KV": 4, "PACK_K": "block"}),
        ("b1 h8 q3 kv200 d72 kv_heads2 causal", {"LAYOUT": "head", "KEYS": 4, "UNROLL": 2}),
        ("b2 h6 q1 kv500 d128 kv_heads2 paged page_size7", {"LAYOUT": "head", "QUERIES": 2, "SPLIT_KV": 2}),
    ],
)
@pytest.mark.sampled(2)
def test_every_path_is_right_and_calls_no_libm(shape: str, wanted: dict[str, object], tmp_path: Path) -> None:
    workload = ATTENTION.parse(shape)
    config = configuration(workload, HERE, **wanted)
    built = Run(KERNEL, workload, config, HERE, tmp_path)
    for seed in range(2):
        worst, where = built.error(workload, seed)
        assert worst <= 1, where
    # A call of libm's would be one of a scalar function for every score.
    names = (built.artifact.path.parent / "kernel.o").read_bytes()
    assert b"expf" not in names and b"exp2" not in names


def test_what_is_tuned_for_one_shape_is_right_for_its_companions(tmp_path: Path) -> None:
    """As the engine verifies it: the configuration is not valid for them, and is lowered all the same."""
    workload = ATTENTION.parse("b1 h12 q384 kv384 d128 causal")
    config = configuration(workload, HERE, PACK_K="none", PACK_V="none", COLUMNS=64, KEYS=8, SPLIT_KV=1)
    for i, companion in enumerate(ATTENTION.companions(workload)):
        worst, where = Run(KERNEL, companion, config, HERE, tmp_path / str(i)).error(companion)
        assert worst <= 1, where
