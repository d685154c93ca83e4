"""Files for other programs, each read back by the rule of who reads it, or by their own library."""

import errno
import json
import re
import runpy
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tuner.cli import _system, app
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.export.best import Best
from tuner.export.formats import serving
from tuner.interchange import read_recorded, read_spaces
from tuner.store.records import BestRow, DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store

GPU = DeviceInfo("gpu-1", "NVIDIA A100-SXM4 80GB", "cuda", "cuda:sm_80")
CPU = DeviceInfo("cpu-1", 'A "chip" */', "cpu", "cpu:avx2")
TILE = {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}
ODD = {"T": 7, "ON": True, "ORDER": 'a"b', "S": -0.5}
Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports what is stored of a made-up database into a file, by the command."""
    db = str(tmp_path / "made.db")
    with open_store(db) as store:
        for device, kernel, language, key, config, seconds in [
            (GPU, "tri", "triton", "gemm/f16/m64-n64-k64", {**TILE, "SPLIT_K": 1}, 2e-6),
            (GPU, "tri", "triton", "gemm/f16/m128-n64-k64", {**TILE, "BLOCK_M": 128, "SPLIT_K": 2}, 3e-6),
            (GPU, "slow", "triton", "gemm/f16/m64-n64-k64", {"BLOCK_M": 16}, 9e-6),
            (
                CPU,
                "tiled",
                "cxx",
                "gemm/f32/m8-n9-k10/relu",
                {"T": 7, "ON": True, "ORDER": 'a"b', "S": -0.5},
                1e-3,
            ),
        ]:
            workload = Workload.from_key(key)
            info, protocol = KernelInfo(kernel, "source", language, "gemm"), Protocol(threads=1)
            sweep = store.begin_sweep(SweepSpec(workload, device, info, device.target, "random", 0, protocol))
            identity = TrialKey(workload, kernel, "source", config, device.target, "tool", device.fingerprint,
                                protocol.digest)  # fmt: skip
            samples = (seconds, seconds, seconds)
            store.add_trials(sweep, [Trial(identity, Measurement(Status.OK, Evidence.MEASURED, samples))])

    def run(format: str, name: str, *more: str) -> Path:
        file = tmp_path / name
        app(["export", "--best", str(file), "--format", format, "--db", db, *more], standalone_mode=False)
        return file

    return run


def test_json_is_by_device_and_shape_with_all_it_was_measured_with(export: Export) -> None:
    content = json.loads(export("json", "best.json").read_text())
    shapes = content["devices"]["gpu-1"]["shapes"]
    assert set(shapes) == {"gemm/f16/m64-n64-k64", "gemm/f16/m128-n64-k64"}
    entry = shapes["gemm/f16/m64-n64-k64"]
    assert entry["kernel"] == "tri" and entry["config"]["BLOCK_M"] == 64 and entry["time_s"] == 2e-6
    kept = {"kernel_digest", "toolchain", "toolchain_version", "driver", "evidence", "measured_at", "threads"}
    assert kept <= entry.keys()


def test_a_c_program_sees_the_parameters(export: Export, tmp_path: Path) -> None:
    export("c-header", "tuned.h", "--device", "chip")
    (tmp_path / "show.c").write_text(
        r"""
        #include "tuned.h"
        #include <stdio.h>
        #if GEMM_F32_M8_N9_K10_RELU_T != 7 || !GEMM_F32_M8_N9_K10_RELU_ON
        #error "the preprocessor cannot ask"
        #endif
        int main(void) {
            printf("%s %s %g\n", GEMM_F32_M8_N9_K10_RELU_KERNEL, GEMM_F32_M8_N9_K10_RELU_ORDER,
                   1 GEMM_F32_M8_N9_K10_RELU_S);
        }""".replace("1 GEMM", "1 * GEMM")
    )
    subprocess.run(["gcc", "-Wall", "-Werror", "show.c", "-o", "show"], cwd=tmp_path, check=True)
    said = subprocess.run(["./show"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said == 'tiled a"b -0.5\n'


def test_with_several_devices_a_program_says_which(export: Export, tmp_path: Path) -> None:
    export("c-header", "tuned.h")
    (tmp_path / "x.c").write_text('#include "tuned.h"\nint x = GEMM_F16_M64_N64_K64_BLOCK_N;')
    command = ["gcc", "-fsyntax-only", "x.c"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "define one of" in refused.stderr
    subprocess.run([*command, "-DTUNED_FOR_NVIDIA_A100_SXM4_80GB"], cwd=tmp_path, check=True)


def test_python_reads_a_list_of_triton_configurations(export: Export) -> None:
    pytest.importorskip("triton")
    told = runpy.run_path(str(export("triton-config", "configs.py")))
    config = told["CONFIGS"][told["BY_SHAPE"][128, 64, 64]]
    assert config.kwargs == {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 8, "SPLIT_K": 2}
    assert (config.num_warps, config.num_stages) == (4, 3)
    assert told["BY_WORKLOAD"]["gemm/f16/m64-n64-k64"] != told["BY_WORKLOAD"]["gemm/f16/m128-n64-k64"]


def kernel_tuner_best(file: Path, device: str, size: tuple[int, ...]) -> dict[str, Any]:
    """The reader's rule: entries of the device as the format spells it, of the size, the best."""
    content = json.loads(file.read_text())
    assert content["version_number"] == "1.0" and not content["objective_higher_is_better"]
    name = re.sub("[^0-9a-zA-Z]+", "_", device.strip())
    size_text = "x".join(map(str, size))
    fitting = [e for e in content["data"] if (e["device_name"], e["problem_size"]) == (name, size_text)]
    assert all(set(content["tunable_parameters"]) <= set(e["tunable_parameters"]) for e in fitting)
    return min(fitting, key=lambda e: e[content["objective"]])["tunable_parameters"]


def test_kernel_tuners_results_are_found_by_device_and_size(export: Export) -> None:
    file = export("kernel-tuner", "results.json", "--kernel", "tri")
    assert kernel_tuner_best(file, GPU.name, (128, 64, 64))["BLOCK_M"] == 128


def test_kernel_tuner_itself_reads_them(export: Export) -> None:
    integration = pytest.importorskip("kernel_tuner.integration")
    results = integration.TuneResults(str(export("kernel-tuner", "results.json", "--kernel", "tri")))
    name = re.sub("[^0-9a-zA-Z]+", "_", GPU.name)
    assert results.get_best_config(name, (64, 64, 64))["tunable_parameters"]["BLOCK_M"] == 64


@pytest.mark.parametrize(
    ("format", "more"), [("json", []), ("kernel-tuner", ["--kernel", "tri"]), ("t4", [])]
)
def test_the_times_of_a_file_are_imported_as_replayed_ones(
    export: Export, format: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if format == "t4":
        more = ["--workload", "gemm/f16/m64-n64-k64"]
    file, db = export(format, "best.json", *more), str(tmp_path / "other.db")
    for _ in range(2):  # the second time nothing is new
        app(["import", str(file), "--db", db], standalone_mode=False)
    with open_store(db, read_only=True) as store:
        assert store.best() == []  # what others timed is no measurement of this machine
        replayed = {row.time_s: dict(row.config) for row in store.best(evidence=["replayed"])}
    assert replayed[2e-6] == {**TILE, "SPLIT_K": 1}
    assert len(replayed) == {"json": 3, "kernel-tuner": 2, "t4": 1}[format]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": "kernel-tuner-lab/best", "version": 2, "devices": {}}, "version 2 of the format"),
        ({"format": "kernel-tuner-lab/best", "version": 1, "devices": {}}, "has no entries"),
        ({"format": "kernel-tuner-lab/best", "version": 1, "devices": {"a": {"name": "x", "shapes": {"s": {
            "kernel": "k", "dims": {"m": -1}, "config": {}, "time_s": 1.0}}}}}, "-1 is no size"),
        ({"format": "kernel-tuner-lab/best", "version": 1, "devices": {"a": {"name": "x", "shapes": {"s": {
            "kernel": "k", "dims": {"m": 1}, "config": {"a": []}, "time_s": 1.0}}}}}, "not a parameter"),
        ({"version_number": "2.0", "objective": "time"}, "results file of version .2.0."),
        ({"version_number": "1.0", "objective": "power", "kernel_name": "k"}, "which is no time"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(content: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(TunerError, match=said):
        read_spaces(tmp_path / "bad.json")


def test_several_kernels_are_several_files(export: Export) -> None:
    folder = export("kernel-tuner", "results")
    assert sorted(p.name for p in folder.iterdir()) == ["tiled.json", "tri.json"]


def test_t4_is_read_back(export: Export) -> None:
    file = export("t4", "one.t4.json", "--workload", "gemm/f16/m64-n64-k64")
    space = read_recorded(file)
    assert (space.kernel, space.device, space.problem) == ("tri", GPU.name, (64, 64, 64))
    (trial,) = space.trials
    assert trial.config["BLOCK_N"] == 128 and trial.samples == (2e-6,)
    for result in json.loads(file.read_text())["results"]:
        assert {"configuration", "times", "invalidity", "correctness"} <= result.keys()


def row(key: str, device: str, config: dict[str, Any], language: str = "triton") -> Best:
    interval = Interval(1e-6, 1e-6, 1e-6)
    return Best(
        BestRow(
            Workload.from_key(key), DeviceInfo("gpu", device, "cuda", "cuda:sm_90"),
            KernelInfo("moe_kernel", "source", language, "moe"), 1, "warm", 1, 1, config, "cuda:sm_90",
            "tool", "measured", 1e-6, interval, False, datetime.now(UTC),
        ),
        ("triton", "3.2.0"),
    )  # fmt: skip


def launch(folder: Path, name: str, tokens: int) -> dict[str, int]:
    """What both do once they have a file's name: whole-number keys, the nearest number of tokens."""
    configs = {int(key): value for key, value in json.loads((folder / name).read_text()).items()}
    return configs[min(configs, key=lambda m: abs(m - tokens))]


# Names of files that lie in the consumers' own repositories.
MOE = {
    "vllm": ("", "E=256,N=256,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128,128].json"),
    "sglang": (
        "triton_3_2_0",
        "E=256,N=256,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128, 128].json",
    ),
}
BLOCK = {
    "vllm": "N=1536,K=7168,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128,128].json",
    "sglang": "N=1536,K=7168,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128, 128].json",
}


@pytest.mark.parametrize("consumer", ["vllm", "sglang"])
def test_a_mixture_of_experts_is_found_by_name_and_tokens(consumer: str, tmp_path: Path) -> None:
    rows = [
        row(f"moe/fp8/e256-m{m}-n256-k7168/block_k=128,block_n=128", "NVIDIA H200", {**TILE, "BLOCK_M": m})
        for m in (16, 64)
    ]
    serving.WRITERS[f"{consumer}-moe"](rows, tmp_path)
    folder, name = MOE[consumer]
    assert launch(tmp_path / folder, name, 50) == {
        "BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 128, "BLOCK_SIZE_K": 32, "GROUP_SIZE_M": 8, "num_warps": 4,
        "num_stages": 3,
    }  # fmt: skip
    assert launch(tmp_path / folder, name, 1)["BLOCK_SIZE_M"] == 16


@pytest.mark.parametrize("consumer", ["vllm", "sglang"])
def test_a_block_scaled_product_is_found_by_name(consumer: str, tmp_path: Path) -> None:
    key = "gemm/fp8/m64-n1536-k7168/block_k=128,block_n=128"
    serving.WRITERS[f"{consumer}-block-fp8"]([row(key, "NVIDIA H200", TILE)], tmp_path)
    assert launch(tmp_path, BLOCK[consumer], 64)["BLOCK_SIZE_N"] == 128


def test_vllm_has_one_file_for_all_h200_and_half_precision_has_no_dtype(
    tmp_path: Path,
) -> None:
    key = "moe/bf16/e8-m1-n14336-k4096"
    for consumer, name in (
        ("vllm", "E=8,N=14336,device_name=NVIDIA_H200.json"),
        ("sglang", "triton_3_2_0/E=8,N=14336,device_name=NVIDIA_H200_NVL.json"),
    ):
        serving.WRITERS[f"{consumer}-moe"]([row(key, "NVIDIA H200 NVL", TILE)], tmp_path)
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("key", "config", "language", "said"),
    [
        ("moe/bf16/e8-m1-n8-k8", {**TILE, "SPLIT_K": 4}, "triton", "SPLIT_K=4 .* tune with SPLIT_K=1"),
        ("moe/bf16/e8-m1-n8-k8", {**TILE, "SWIZZLE": 4}, "triton", "no such parameter"),
        ("moe/bf16/e8-m1-n8-k8", {"BLOCK_M": 4}, "triton", "has no parameter BLOCK_SIZE_N"),
        ("moe/bf16/e8-m1-n8-k8", TILE, "nvrtc", "no Triton kernel"),
        ("gemm/f16/m1-n8-k8", TILE, "triton", "dimensions e, m, n; gemm has m, n, k"),
        ("moe/int4/e8-m1-n8-k8", TILE, "triton", "dtype int4 has no name there"),
    ],
)  # fmt: skip
def test_what_would_mean_something_else_there_is_refused(
    key: str, config: dict[str, Any], language: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(TunerError, match=said):
        serving.WRITERS["vllm-moe"]([row(key, "NVIDIA H200", config, language)], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "more", "said"),
    [
        ("xml", [], "unknown format of --best 'xml'"),
        ("json", ["--kernel", "none"], "no measured best is stored"),
        ("json", ["--evidence", "guessed"], "unknown evidence"),
        ("metaschedule", [], "choose it with --workload"),
        ("triton-config", ["--kernel", "tiled"], "no Triton kernel"),
        ("vllm-block-fp8", ["--kernel", "tri"], "takes GEMM in fp8"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    export: Export, format: str, more: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TunerError, match=said):
        export(format, "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_copy_that_finds_no_space_names_the_copy() -> None:
    assert (
        _system(OSError(errno.ENOSPC, "No space left", "/tmp/a", None, "/full/b")) == "/full/b: no space left"
    )
    assert _system(OSError(errno.EACCES, "Permission denied", "/tmp/a")) == "/tmp/a: permission denied"
