"""Libraries called through their C interfaces: right for every option they honour, frozen or not.

They come with the extra `vendor`; where it is not installed, what is told of that is all there is to test.
"""

import random
from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.builders.host.python_callable import PythonBuilder
from tuner.core.activations import OF_PRODUCTS
from tuner.core.errors import Unavailable
from tuner.core.kernel import Kernel
from tuner.core.operator import worst_error
from tuner.core.workload import Option, Workload
from tuner.devices.cpu.callable import load
from tuner.devices.cpu.device import CpuDevice, named_targets
from tuner.schedules import native

# Libraries compute on the machine as it is, whatever a target says.
TARGET = CpuDevice().target
NATIVE = [
    kernel for operator in ("gemm", "conv2d") for kernel in registry.kernels_of(operator, "cpu")
    if isinstance(kernel, native.NativeKernel)
]  # fmt: skip
KERNELS = [pytest.param(kernel, id=kernel.name) for kernel in NATIVE]


def workloads(kernel: Kernel, count: int) -> list[Workload]:
    """Random ones that the kernel serves, each of the dtypes among them that it has on this machine."""
    rng, operator = random.Random(5), registry.operator(kernel.operator)
    example = dict(operator.parse(operator.example).dims)
    frozen = {"frozen": kernel.only_frozen}
    served = [
        dtype for dtype in kernel.dtypes
        if kernel.unsupported(operator.workload(dtype, **example, **frozen), TARGET) is None
    ]  # fmt: skip
    found: list[Workload] = []
    while len(found) < count:
        options: dict[str, Option]
        dtype = served[len(found) % len(served)]
        if kernel.operator == "gemm":
            dims = {d: rng.choice([1, 7, 16, 33, 129]) for d in ("m", "n", "k")}
            activation = "relu" if dtype == "int8" else rng.choice(("relu", *OF_PRODUCTS))
            options = {name: rng.random() < 0.3 for name in ("trans_a", "trans_b", "bias", activation)}
            options |= {"batch": rng.choice([1, 1, 3]), "alpha": rng.choice([1.0, 1.0, 2.0])}
        else:
            groups, taps = rng.choice([1, 1, 4]), rng.choice([1, 3])
            dims = {"n": rng.choice([1, 2]), "c": 4 * rng.choice([1, 5]), "k": 4 * rng.choice([1, 6])}
            dims |= {"h": rng.choice([7, 14]), "w": 9, "r": taps, "s": taps}
            options = {name: rng.random() < 0.3 for name in ("nhwc", "bias", "relu")}
            options |= {"groups": groups, "stride": rng.choice([1, 2]), "pad_top": rng.choice([0, 1])}
        workload = operator.workload(dtype, **dims, **options, **frozen)
        if kernel.unsupported(workload, TARGET) is None:
            found.append(workload)
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_agrees_with_the_reference_call_after_call(kernel: Kernel, tmp_path: Path) -> None:
    """What is no constant changes between the calls, in place: the library reads it anew."""
    if reason := kernel.unavailable():
        pytest.skip(reason)
    operator = registry.operator(kernel.operator)
    for number, workload in enumerate(workloads(kernel, 24)):
        folder = tmp_path / str(number)
        folder.mkdir()
        executable = load(PythonBuilder().build(kernel.lower(workload, {}, TARGET), TARGET, folder), 2)
        inputs, others = operator.inputs(workload, 0), operator.inputs(workload, 1)
        outputs = {s.name: np.zeros(s.shape, s.dtype) for s in operator.signature(workload) if s.output}
        executable.bind({**inputs, **outputs})
        for changed in (False, True):
            for name in inputs:
                if changed and name not in kernel.constant:
                    inputs[name][...] = others[name]
            executable.run()
            reference = operator.reference(workload, inputs)
            tolerance = operator.tolerance(workload, inputs, reference)
            error, where = worst_error(outputs, reference, tolerance)
            assert error <= 1.0, f"{workload.key}: {where}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_library_that_is_not_there_names_its_extra(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(kernel), "stem", "no_such_library")
    with pytest.raises(Unavailable, match=r"libno_such_library\.so .*is not installed.*\[vendor\]"):
        kernel.require(workloads(kernel, 1)[0], TARGET)


def test_a_library_of_another_version_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmade_up.so.2").touch()
    monkeypatch.setattr(native.sys, "prefix", str(tmp_path))
    found = native.find_library.__wrapped__
    assert found("made_up", ("3",)) is None
    assert found("made_up", ("3", "2")) == str(tmp_path / "lib" / "libmade_up.so.2")


@pytest.mark.parametrize("kernel", [k for k in NATIVE if "onednn" in k.name], ids=lambda kernel: kernel.name)
def test_onednn_is_refused_f16_alone_where_the_processor_has_no_arithmetic_in_it(kernel: Kernel) -> None:
    operator, avx2 = registry.operator(kernel.operator), named_targets()["cpu:avx2"]
    example = dict(operator.parse(operator.example).dims)
    said = {
        dtype: kernel.unsupported(operator.workload(dtype, **example, frozen=kernel.only_frozen), avx2)
        for dtype in kernel.dtypes
    }
    assert "lacks avx512fp16, which f16 needs" in str(said.pop("f16")) and set(said.values()) == {None}
