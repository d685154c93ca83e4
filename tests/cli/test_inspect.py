"""`tuner inspect`: all stages, resources and what a parameter changes."""

import json
import os
import subprocess
import sys

import pytest


def tuner(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tuner", "inspect", *arguments], capture_output=True, text=True, timeout=170,
        env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip


def inspected(*arguments: str) -> dict:
    done = tuner(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(content: dict) -> list[str]:
    return [stage["name"] for stage in content["stages"]]


def test_cpp_kernel_down_to_assembly():
    content = inspected("cpp_naive", "--shape", "16x16x16")
    assert names(content) == ["C++", "x86 assembly"]
    assert "gemm" in content["stages"][1]["text"]
    assert content["metrics"]["code_bytes"] > 0


def test_cuda_kernel_down_to_sass_and_what_a_parameter_changes(tmp_path):
    pytest.importorskip("cuda.core", reason="needs the extra 'cuda' (NVRTC wheels)")
    arguments = ("cuda_shared_tiles", "--shape", "64x64x64", "--config", "TILE=16 PAD=0", "--diff", "PAD=1")
    content = inspected(*arguments)
    assert names(content) == ["CUDA C++", "PTX", "SASS"]
    assert ".visible .entry" in content["stages"][1]["text"]
    assert any(word in content["stages"][2]["text"] for word in ("FFMA", "EXIT"))
    assert content["metrics"]["static_shared_bytes"] == 2 * 16 * 16 * 4
    assert content["diff"]["metrics"]["static_shared_bytes"] > 2 * 16 * 16 * 4
    assert "+#define PAD 1" in content["diff"]["stages"]["CUDA C++"]
    assert content["predicted"]["evidence"] == "predicted"
    page = tmp_path / "page.html"
    assert tuner(*arguments, "--html", str(page)).returncode == 0
    text = page.read_text()
    assert "not measured" in text and "SASS" in text
    assert "<script" not in text and "http" not in text.split("</style>")[0]


def test_only_one_stage_in_the_terminal():
    done = tuner("cpp_naive", "--shape", "16x16x16", "--stage", "assembly")
    assert done.returncode == 0
    assert "x86 assembly" in done.stdout and "C++ (" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("cpp_nave", "--shape", "8x8x8"), "cpp_naive"),
        (("cpp_packed", "--shape", "8x8x8", "--config", "MR=1000"), "MR"),
        (("cpp_packed", "--shape", "8x8x8", "--diff", "NOPE=1"), "NOPE"),
        (("cpp_naive", "--shape", "8x8x8", "--target", "cpu:sse9"), "cpu:avx2"),
        (("cuda_naive", "--shape", "8x8x8", "--target", "cuda:sm_1"), "cuda:sm_80"),
    ],
)
def test_bad_input(arguments, word):
    done = tuner(*arguments)
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert word in line
