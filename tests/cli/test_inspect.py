"""`tuner inspect`: all stages, resources and what a parameter changes."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.in_process import run_here


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
    well_formed(text)
    said = re.sub(r"<[^>]+>", " ", text)
    assert "not measured" in said and "SASS" in said
    # Words and units in place of names and powers of ten.
    assert "524 kFLOP (262 kMAC)" in said and "shared memory declared in the code" in said
    assert "2 KiB" in said and "e+" not in said.split("Stages")[0]
    marked = re.findall(r'<tr class="changed"><th scope="row">(\w+)', text)
    assert "PAD" in marked and "TILE" not in marked
    assert '<td class="removed">#define PAD 0</td>' in text and '<td class="added">#define PAD 1</td>' in text


def test_tensorir_is_shown_before_and_after_scheduling():
    content = inspected("tir_packed", "--shape", "32x32x32")
    assert names(content) == ["TensorIR before scheduling", "TensorIR after scheduling", "x86 assembly"]
    before, after = (stage["text"] for stage in content["stages"][:2])
    assert "T.parallel" not in before and "@T.prim_func" in before and before != after
    assert "T.parallel" in after or "T.vectorized" in after or "T.unroll" in after


def test_tensorir_for_cuda_down_to_sass():
    pytest.importorskip("cuda.core", reason="needs the extra 'cuda' (NVRTC wheels)")
    content = inspected("tir_cuda", "--shape", "64x64x64")
    assert names(content) == [
        "TensorIR before scheduling", "TensorIR after scheduling", "CUDA C++", "SASS"
    ]  # fmt: skip
    texts = {stage["name"]: stage["text"] for stage in content["stages"]}
    assert "threadIdx.x" not in texts["TensorIR before scheduling"]
    assert "threadIdx.x" in texts["TensorIR after scheduling"]
    assert "__global__" in texts["CUDA C++"] and "EXIT" in texts["SASS"]


def test_triton_stage_by_stage_and_what_a_parameter_changes_in_each(tmp_path):
    pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    page = tmp_path / "page.html"
    config = "BLOCK_M=64 BLOCK_N=64 BLOCK_K=32 GROUP_M=8 SPLIT_K=1 num_warps=4 num_stages=2"
    arguments = ("triton", "--shape", "128x128x128", "--dtype", "f16", "--config", config, "--diff",
                 "num_warps=8")  # fmt: skip
    content = inspected(*arguments)
    stages = ["Triton IR", "Triton GPU IR", "LLVM IR", "PTX", "SASS"]
    assert names(content) == stages
    changed = content["diff"]["stages"]
    assert list(changed) == stages
    # The number of warps is a choice of the layout: the tile program is the same, what it becomes is not.
    assert "num-warps" not in changed["Triton IR"] and changed["Triton GPU IR"] and changed["SASS"]
    assert tuner(*arguments, "--html", str(page)).returncode == 0
    well_formed(page.read_text())


def well_formed(page: str) -> None:
    """Every element is closed in order, and nothing outside of the page is referred to."""
    from html.parser import HTMLParser

    stack: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert not {"src", "href", "srcset", "action"} & {name for name, _ in attributes}, tag
            assert tag not in ("link", "iframe", "img", "object")
            if tag != "meta":
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    checker = Checker()
    checker.feed(page)
    checker.close()
    assert stack == [] and page.startswith("<!doctype html>")
    assert "url(" not in page.split("</style>")[0] and "@import" not in page.split("</style>")[0]


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
    done = run_here("inspect", *arguments)
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert word in line
