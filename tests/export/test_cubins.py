"""GPU kernels in a package: each cubin is what its manifest says, and is launched right for any size."""

import hashlib
import json
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
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
