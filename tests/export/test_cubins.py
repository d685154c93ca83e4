"""GPU kernels in a package: each cubin is what its manifest says, and is launched right for any size."""

import hashlib
import json
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.tensor_map import TensorMap, Windows
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.export.library.cubins import write_cubins
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store
from tuner.targets import cuda

KEYS = ["gemm/f32/m256-n128-k64", "gemm/f32/m64-n64-k512", "gemm/f32/m64-n64-k512/relu"]
OTHERS = [(1, 1, 1), (1000, 77, 13), (4096, 4096, 4096)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    if registry.builder("nvrtc").unavailable():
        pytest.skip("no NVRTC")
    folder, target = tmp_path_factory.mktemp("cubins"), cuda.target("sm_80")
    workloads = [Workload.from_key(key) for key in KEYS]
    with open_store(str(folder / "made.db")) as store:
        for number, workload in enumerate(workloads):
            for name, evidence in (
                ("cuda_split_k", Evidence.MEASURED),
                ("cuda_warp_tiles", Evidence.PREDICTED),
            ):
                kernel = registry.kernel(name)
                config = kernel.space(workload, target).at(0)
                device = DeviceInfo(f"gpu-{evidence}", "A GPU", "cuda", target.name)
                protocol = Protocol(threads=1)
                if name == "cuda_split_k" and number:
                    continue  # of the others there is a prediction only
                spec = SweepSpec(workload, device, KernelInfo.of(kernel), target.name, "random", 0, protocol)
                key = TrialKey(workload, name, kernel.digest, config, target.name, "tool", device.fingerprint,
                               protocol.digest)  # fmt: skip
                sweep = store.begin_sweep(spec)
                store.add_trials(sweep, [Trial(key, Measurement(Status.OK, evidence, (1e-3,)))])
        assert write_cubins(folder, "ops", workloads, store) == 3
        assert write_cubins(folder / "none", "ops", [Workload.from_key("gemm/f16/m1-n1-k1")], store) == 0
    place = folder / "share" / "ops" / "cuda"
    return place, json.loads((place / "manifest.json").read_text())["entries"]


def test_the_files_are_cubins_of_their_architecture_with_their_entry(manifest: tuple[Path, list]) -> None:
    place, entries = manifest
    assert [(e["workload"], e["evidence"]) for e in entries] == [
        (KEYS[0], "measured"), (KEYS[1], "predicted"), (KEYS[2], "predicted")
    ]  # fmt: skip
    for entry in entries:
        content = (place / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert content[:4] == b"\x7fELF" and content[18:20] == (190).to_bytes(2, "little")  # EM_CUDA
        assert b".text." + entry["entry"].encode() in content


@pytest.mark.parametrize("m, n, k", OTHERS)
def test_the_launch_rule_is_the_kernels_own_at_any_size(manifest, m: int, n: int, k: int) -> None:
    target = cuda.target("sm_80")
    for entry in manifest[1]:
        kernel = registry.kernel(entry["kernel"])
        tuned = Workload.from_key(entry["workload"])
        other = Workload("gemm", "f32", (("m", m), ("n", n), ("k", k)), tuned.options)
        launch = kernel.lower(other, entry["config"], target).launch
        scope = {"m": m, "n": n, "k": k, **dict.fromkeys(entry["run_time"], 1)}

        def value(text: str, scope: dict = scope) -> int:
            # By what the manifest says of its expressions and nothing of ours, as a launcher elsewhere would.
            known = {"__builtins__": {}, "ceildiv": lambda x, y: -(-x // y)}
            return int(eval(text, known, scope))

        assert tuple(map(value, entry["launch"]["grid"])) == launch.grid
        assert tuple(map(value, entry["launch"]["block"])) == launch.block
        assert value(entry["launch"]["shared_bytes"]) == launch.shared_bytes
        bytes_of = {a.name: a.value for a in kernel.lower(other, entry["config"], target).arguments}
        for argument in entry["arguments"]:
            if argument["kind"] == "workspace":
                assert value(argument["bytes"]) == bytes_of[argument["name"]]
            elif argument["kind"] != "tensor":
                assert argument.get("value", scope.get(argument["name"])) == bytes_of[argument["name"]]


def test_each_class_has_one_kernel_for_all_other_sizes(manifest: tuple[Path, list]) -> None:
    assert [entry["default"] for entry in manifest[1]] == [True, False, True]


def test_a_map_says_all_that_the_driver_is_told(tmp_path: Path) -> None:
    """Boxes and windows, at the size that was tuned; corners follow from it, so it serves no other."""
    if registry.builder("nvrtc").unavailable():
        pytest.skip("no NVRTC")
    kernel, target = registry.kernel("cuda_conv_wgmma_tma"), cuda.target("sm_90")
    workload = registry.operator("conv2d").parse("n2 c64 h9 w8 k64 r3 s3 pad1 stride2 nhwc", "f16")
    config, device = kernel.space(workload, target).at(0), DeviceInfo("gpu", "A GPU", "cuda", target.name)
    protocol = Protocol(threads=1)
    with open_store(str(tmp_path / "made.db")) as store:
        spec = SweepSpec(workload, device, KernelInfo.of(kernel), target.name, "random", 0, protocol)
        key = TrialKey(workload, kernel.name, kernel.digest, config, target.name, "tool", device.fingerprint,
                       protocol.digest)  # fmt: skip
        done = Measurement(Status.OK, Evidence.MEASURED, (1e-3,))
        store.add_trials(store.begin_sweep(spec), [Trial(key, done)])
        assert write_cubins(tmp_path, "ops", [workload], store) == 1
    (entry,) = json.loads((tmp_path / "share" / "ops" / "cuda" / "manifest.json").read_text())["entries"]
    scope = {"__builtins__": {}, "ceildiv": lambda x, y: -(-x // y)}
    told = []
    for argument in entry["arguments"]:
        if argument["kind"] == "map":
            dims, box, lower, upper, steps = (
                tuple(eval(text, scope, dict(workload.dims)) for text in argument.get(key, ()))
                for key in ("dims", "box", "lower", "upper", "steps")
            )
            windows = Windows(lower, upper, steps) if steps else None
            told.append(TensorMap(dims, box, argument["element_bytes"], int(argument["swizzle"]), windows))
    arguments = kernel.lower(workload, config, target).arguments
    assert told == [TensorMap.of(a) for a in arguments if a.kind == "map"] and len(told) == 3
    assert not entry["any_size"]
