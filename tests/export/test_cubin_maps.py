"""Tensor maps in a package's manifest: a program elsewhere makes of them what the lab's devices make."""

import json
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.tensor_map import TensorMap
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.export.library.cubins import write_cubins
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store
from tuner.targets import cuda


@pytest.mark.slow
def test_the_manifest_says_what_a_map_holds_at_any_size(tmp_path: Path) -> None:
    if registry.builder("nvrtc").unavailable():
        pytest.skip("no NVRTC")
    target, kernel = cuda.target("sm_90"), registry.kernel("cuda_wgmma_tma")
    workload = Workload.from_key("gemm/f16/m256-n128-k64/trans_b")
    config = kernel.space(workload, target).at(0)
    device, protocol = DeviceInfo("gpu", "A GPU", "cuda", target.name), Protocol(threads=1)
    spec = SweepSpec(workload, device, KernelInfo.of(kernel), target.name, "random", 0, protocol)
    key = TrialKey(workload, kernel.name, kernel.digest, config, target.name, "tool", "gpu", protocol.digest)
    with open_store(str(tmp_path / "made.db")) as store:
        measured = Measurement(Status.OK, Evidence.PREDICTED, (1e-3,))
        store.add_trials(store.begin_sweep(spec), [Trial(key, measured)])
        assert write_cubins(tmp_path, "ops", [workload], store) == 1
    manifest = json.loads((tmp_path / "share" / "ops" / "cuda" / "manifest.json").read_text())
    told = [a for a in manifest["entries"][0]["arguments"] if a["kind"] == "map"]
    assert [a["name"] for a in told] == ["A", "B"]
    sizes = {"m": 1000, "n": 72, "k": 520}
    other = Workload("gemm", "f16", tuple(sizes.items()), workload.options)
    made = [TensorMap.of(a) for a in kernel.lower(other, config, target).arguments if a.kind == "map"]
    for argument, expected in zip(told, made, strict=True):
        dims, box = (
            tuple(int(eval(text, {"__builtins__": {}}, {**sizes, "batch": 1})) for text in argument[key])
            for key in ("dims", "box")
        )
        assert (dims, box) == (expected.dims, expected.box)
        assert (int(argument["swizzle"]), argument["element_bytes"]) == (expected.swizzle, 2)
