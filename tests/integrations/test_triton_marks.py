"""Whose stopwatch it was: in the store, in what commands print, and in what is exported."""

import json
import statistics
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tuner.cli import app
from tuner.core.protocol import Protocol
from tuner.integrations.triton.source import kernel_digest
from tuner.integrations.triton.timing import NoTime, protocol_of, times_of
from tuner.store.store import open_store


def test_another_stopwatch_is_another_protocol_and_the_judges_is_as_it_was():
    judged, theirs = Protocol(), Protocol(timer="triton.testing.do_bench")
    assert judged.digest != theirs.digest
    # Another stopwatch changes nothing for what the judge has stored (by rules 3 of measuring).
    assert judged.digest == "8aab2b8d887f21a0" and "timer" not in judged.as_dict()
    assert Protocol.from_dict(theirs.as_dict()) == theirs


def test_what_a_benchmarker_is_says_the_protocol():
    def own(call, quantiles):
        """Somebody's."""

    named = [
        protocol_of(None),
        protocol_of(None, 10, 20),
        protocol_of(None, use_cuda_graph=True),
        protocol_of(own),
    ]
    assert [p.timer.partition("@")[0] for p in named] == [
        "triton.testing.do_bench", "triton.testing.do_bench(warmup=10, rep=20)",
        "triton.testing.do_bench_cudagraph(rep=100)",
        f"{__name__}.test_what_a_benchmarker_is_says_the_protocol.<locals>.own",
    ]  # fmt: skip
    assert [p.cache for p in named] == ["cold", "cold", "warm", "warm"]
    assert len({p.digest for p in named}) == 4


@pytest.mark.parametrize(("said", "kept"), [([2.0, 1.0, 3.0], 2e-3), (4.0, 4e-3), ((5.0,), 5e-3)])
def test_a_median_is_the_only_sample_of_somebodys_benchmarker(said, kept):
    samples, _ = times_of(lambda call, quantiles: said, lambda: None)
    assert samples == (kept,)


def test_of_tritons_own_samples_some_are_kept_in_their_order():
    taken = [1 + (i * 7919 % 1000) / 1000 for i in range(1000)]

    def do_bench(call, return_mode):
        return taken

    do_bench.__module__ = "triton.testing"
    samples, (middle, *_) = times_of(do_bench, lambda: None)
    places = [min(range(1000), key=lambda i: abs(taken[i] - 1e3 * seconds)) for seconds in samples]
    assert len(samples) == 200 and places == sorted(places)
    assert statistics.median(samples) == pytest.approx(middle / 1e3, rel=5e-3)


@pytest.mark.parametrize("said", [float("inf"), [0.0], [], [float("nan")], -1])
def test_what_is_no_time_is_none(said):
    with pytest.raises(NoTime, match="which is no time"):
        times_of(lambda call, quantiles: said, lambda: None)


@pytest.fixture
def device(lab, monkeypatch):
    """A driver that says it has a GPU, and launches nothing: what is not the interpreter's."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    bench = SimpleNamespace(calls=0)

    def do_bench(call, **asked):
        call()
        bench.calls += 1
        return [4.0 - bench.calls] * 9 if asked.get("return_mode") == "all" else [4.0 - bench.calls] * 3

    do_bench.__module__, do_bench.__name__ = "triton.testing", "do_bench"
    active = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0,
        get_benchmarker=lambda: do_bench,
    )  # fmt: skip
    monkeypatch.setattr(lab.triton.knobs.runtime, "interpret", False)
    # Before 3.5 an attribute of the instance.
    monkeypatch.setattr(type(driver), "active", property(lambda self: active), raising=False)
    return bench


class Launcher:
    """A kernel that torch computes, where Triton would launch one."""

    arg_names = ("x", "out", "n", "BLOCK")

    @staticmethod
    def fn(x, out, n, BLOCK):
        out.copy_(x * 2)

    def run(self, *args, BLOCK, **more):
        self.fn(*args, BLOCK)


def test_times_of_a_device_are_measured_and_marked_as_the_programs_own(lab, numbers, device, tmp_path):
    from tuner.integrations.triton import autotune

    for count in (2, 2):  # the second has all from the store
        kernel = autotune([lab.config(16), lab.config(32)], ["n"])(Launcher())
        kernel.run(numbers[0], numbers[2], 100)
        assert device.calls == count and kernel.best_config.kwargs["BLOCK"] == 32
    with open_store(lab.db) as store:
        (row,) = store.best()
        detail = store.trial(row.trial_id)
    assert row.timer == detail.timer == "triton.testing.do_bench" and row.target == "cuda:sm_90"
    assert len(detail.trial.measurement.samples) == 9 and detail.toolchain[0] == "triton"
    assert row.kernel.operator == "triton_fn" and detail.cache == "cold"
    runner, db = CliRunner(), ["--db", str(lab.db)]
    best = runner.invoke(app, ["best", *db])
    assert "fn+" in best.output
    assert "+ timed by the program it is of, with triton.testing.do_bench, not by the judge" in best.output
    assert json.loads(runner.invoke(app, ["best", "--json", *db]).output)[0]["timer"] == row.timer
    file = tmp_path / "best.json"
    assert runner.invoke(app, ["export", "--best", str(file), *db]).exit_code == 0
    (entry,) = json.loads(file.read_text())["devices"][row.device.fingerprint]["shapes"].values()
    assert entry["timer"] == "triton.testing.do_bench"
    page = tmp_path / "page.html"
    assert runner.invoke(app, ["report", "s1", "--html", str(page), *db]).exit_code == 0
    assert "with triton.testing.do_bench, not by the judge" in page.read_text()
    assert "tuner.load" not in page.read_text()
    configs = tmp_path / "configs.py"
    done = runner.invoke(app, ["export", "--best", "--format", "triton-config", str(configs), *db])
    assert (
        done.exit_code == 0
        and "triton.Config({'BLOCK': 32}, num_warps=4, num_stages=3)" in configs.read_text()
    )


def test_a_lost_gpu_ends_the_process_once_and_is_left_out_by_the_next(lab, numbers, device, monkeypatch):
    from tuner.integrations.triton import autotune
    from tuner.integrations.triton.failures import ContextLost

    lost = []

    class Breaks(Launcher):
        def run(self, *args, BLOCK, **more):
            if lost or BLOCK == 64:
                lost.append(BLOCK)
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            super().run(*args, BLOCK=BLOCK)

    def synchronize():
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(lab.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(lab.torch.cuda, "synchronize", synchronize)
    configs = [lab.config(64), lab.config(16), lab.config(32)]
    kernel = autotune(configs, ["n"], restore_value=["out"])(Breaks())
    with pytest.raises(ContextLost, match=r"BLOCK: 64.* started again .*illegal memory access"):
        kernel.run(numbers[0], numbers[2], 100)
    lost.clear()  # the program is started again
    again = autotune(configs, ["n"], restore_value=["out"])(Breaks())
    again.run(numbers[0], numbers[2], 100)
    assert not lost and again.best_config.kwargs["BLOCK"] == 32
    assert lab.torch.equal(numbers[2], numbers[0] * 2)


def test_large_tensors_are_compared_in_parts(lab, monkeypatch):
    from tuner.integrations.triton import outputs

    monkeypatch.setattr(outputs, "_CHUNK", 7)
    right = lab.torch.arange(60.0).reshape(3, 20)
    wrong = right.clone()
    wrong[1, 9] += 10
    wrong[2, 19] = float("nan")
    assert outputs._difference("out", right.clone(), right, None) is None
    assert (
        outputs._difference("out", wrong, right, None) == "out[1, 9] is 39, not 29; 2 of 60 elements differ"
    )
    assert outputs._difference("out", wrong.t(), right.t(), 1.0).endswith("1 of 60 elements differ")


def kernels_of(tmp_path, monkeypatch, text):
    """A module with kernels as plain functions, from a file of its own."""
    import importlib.util

    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "theirs.py").write_text(text)
    found = importlib.util.spec_from_file_location("theirs", tmp_path / "theirs.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.kernel


SOURCE = """
import triton
import triton.language as tl
SCALE: tl.constexpr = 3
@triton.jit
def helper(x):
    return x * SCALE
@triton.jit
def kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr, helper(tl.load(x_ptr)))
"""


def test_a_kernels_digest_follows_what_it_calls_and_not_where_it_stands(lab, tmp_path, monkeypatch):
    texts = [
        SOURCE, "# a comment above\n\n" + SOURCE, SOURCE.replace("x * SCALE", "x + SCALE"),
        SOURCE.replace("SCALE: tl.constexpr = 3", "SCALE: tl.constexpr = 4"),
        SOURCE.replace("tl.load(x_ptr)", "tl.load(x_ptr + 1)"),
    ]  # fmt: skip
    for interpret in (True, False):
        monkeypatch.setattr(lab.triton.knobs.runtime, "interpret", interpret)
        digests = [
            kernel_digest(kernels_of(tmp_path / f"{interpret}{i}", monkeypatch, text))
            for i, text in enumerate(texts)
        ]
        assert digests[0] == digests[1] and len(set(digests)) == 4


REAL = """
import sys
import torch, triton, triton.language as tl
from tuner.integrations.triton import autotune
from tests.integrations import kernels

torch.manual_seed(0)
x, y = torch.randn(2, 1 << 20, device="cuda")
out = torch.empty_like(x)
configs = [triton.Config({"BLOCK": b, "KIND": k}, num_warps=w)
           for b, w, k in ((256, 4, "right"), (1024, 4, "right"), (1024, 8, "half"), (1 << 21, 4, "right"))]
kernel = autotune(configs, ["n"])(triton.jit(kernels.add))
kernel[kernels.grid](x, y, out, n=x.numel())
assert torch.equal(out, x + y)
print(len(kernel.last.timed), kernel.best_config.kwargs["KIND"])
"""


@pytest.mark.gpu
def test_on_a_gpu_times_are_measured_once_and_a_wrong_configuration_is_found(tmp_path):
    """In processes of their own: this one must stay able to fork."""
    from tests.conftest import __file__ as conftest

    script = tmp_path / "real.py"
    script.write_text(REAL)
    import os
    from pathlib import Path

    root = Path(conftest).parent.parent
    environment = {
        **os.environ,
        "TUNER_DB": str(tmp_path / "r.db"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
    }
    for timed in ("4", "0"):
        done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [timed, "right"]
    with open_store(tmp_path / "r.db") as store:
        (sweep,) = store.sweeps()
        statuses = [str(t.measurement.status) for t in store.sweep_history(sweep.id)]
        assert statuses.count("ok") >= 2 and "wrong_result" in statuses
        assert store.best()[0].evidence == "measured"
