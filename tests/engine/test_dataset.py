"""What a run is verified against: inputs leave the judging process sealed, references do not leave it."""

import json
import mmap
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import TunerError, UnknownName
from tuner.core.guarded import same_bits
from tuner.engine.judging import dataset
from tuner.engine.judging.sealed import Layout


@pytest.mark.parametrize(
    ("operator", "shape", "dtype"), [("gemm", "m5 n7 k3 bias", "f32"), ("gemm", "8x16x24", "f16")]
)
def test_inputs_arrive_as_they_were_drawn_and_cannot_be_written_or_cut(
    operator: str, shape: str, dtype: str
) -> None:
    op = registry.operator(operator)
    workload = op.parse(shape, dtype)
    data = dataset.compute(op, workload, 3)
    layout = Layout.from_plain(data.layout.as_plain())
    assert layout == data.layout and layout.signature == tuple(op.signature(workload))
    memory = mmap.mmap(data.sent, layout.inputs_bytes, access=mmap.ACCESS_READ)
    found = layout.arrays(memory, outputs=False)
    for name, values in op.inputs(workload, 3).items():
        assert same_bits(found[name], np.ascontiguousarray(values))
        assert not found[name].flags.writeable and found[name].ctypes.data % 64 == 0
    for attack in (
        lambda: os.pwrite(data.sent, b"x", 0),
        lambda: os.ftruncate(data.sent, 0),
        lambda: mmap.mmap(data.sent, layout.inputs_bytes, access=mmap.ACCESS_WRITE),
        lambda: os.ftruncate(data.shown, 0),
    ):
        with pytest.raises(OSError):
            attack()


def test_outputs_are_written_by_one_process_and_read_by_the_other() -> None:
    op = registry.operator("gemm")
    data = dataset.compute(op, op.parse("8x16x24"), 3)
    theirs = mmap.mmap(data.shown, data.layout.outputs_bytes)
    data.layout.arrays(theirs, outputs=True)["D"][2, 3] = 7
    assert data.outputs["D"][2, 3] == 7


def test_bits_are_compared_not_values() -> None:
    nan = np.array([np.nan, 1.0, 2.0], np.float32)
    assert same_bits(nan, nan.copy())
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    for size in (1, 3, 8, 17):  # whole words of eight bytes, and not
        one = np.arange(size, dtype=np.uint8)
        other = one.copy()
        assert same_bits(one, other)
        other[-1] ^= 1
        assert not same_bits(one, other)


@pytest.mark.parametrize("calls", [1, 3, 65, 300, 1000])
def test_a_library_s_inputs_hold_what_the_last_call_found(calls: int) -> None:
    """They are compared on it, and the stores that are timed apart come after it."""
    from tuner.core.changes import Changes
    from tuner.devices.cpu.callable import CallableExecutable

    seen: list[list[float]] = []

    def factory(workload: object, tensors: dict[str, np.ndarray], threads: int):
        return lambda: seen.append(tensors["X"][[2, 5]].tolist())

    executable = CallableExecutable(factory, None, 1)  # type: ignore[arg-type]
    tensors = {"X": np.zeros(8, np.float32)}
    executable.bind(tensors)
    changes = Changes("X", np.array([2, 5]), np.arange(1, 129, dtype=np.float32))
    assert executable.sample_changing(calls, changes, tensors) > 0
    assert len(seen) == calls and seen[-1] == changes.final(calls).tolist() == tensors["X"][[2, 5]].tolist()


# --- made again elsewhere -----------------------------------------------------------------------------------

REMAKE = """
import json, sys
from tuner.engine.judging.dataset import DatasetRequest, input_digest, remake
for values in json.loads(sys.argv[1]):
    data = remake(DatasetRequest.from_dict(values))
    print(input_digest(data.inputs), input_digest(data.reference))
"""


def test_datasets_are_made_again_from_their_requests_in_another_process() -> None:
    """Of every operator and dtype, the inputs and the reference too."""
    requests, expected = [], []
    for operator in registry.operators().values():
        for dtype in operator.dtypes:
            companions = operator.companions(operator.parse(operator.example, dtype))
            workload = min(companions, key=operator.flops)
            here = dataset.compute(operator, workload, 7)
            requests.append(dataset.request_for(operator, workload, 7))
            expected += [dataset.input_digest(here.inputs), dataset.input_digest(here.reference)]
            assert requests[-1].inputs == expected[-2]
            here.close()
    told = json.dumps([request.as_dict() for request in requests])
    answer = subprocess.run([sys.executable, "-c", REMAKE, told], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == expected


def test_other_inputs_than_those_asked_for_are_refused() -> None:
    operator = registry.operator("gemm")
    request = dataset.request_for(operator, operator.parse("4x4x4"), 7)
    changes: list[dict[str, Any]] = [{"seed": 8}, {"workload": "gemm/f32/m4-n4-k5"}]
    for change in changes:
        with pytest.raises(dataset.DatasetDiffers, match="others here"):
            dataset.remake(replace(request, **change))
    with pytest.raises(UnknownName, match="gemn"):
        dataset.remake(replace(request, operator="gemn"))
    with pytest.raises(TunerError, match=r"seed \(a number\)"):
        dataset.DatasetRequest.from_dict({**request.as_dict(), "seed": "7"})
