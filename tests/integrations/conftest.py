"""What the tests of the drop-in share: Triton's interpreter in place of a GPU, and a stand-in benchmarker."""

import importlib
from types import SimpleNamespace

import pytest


class Bench:
    """A stand-in benchmarker: runs what it is given once and says how long its configuration takes.

    Its name and source are the same in every process, so its times are of one protocol.
    """

    def __init__(self, milliseconds):
        self.milliseconds = milliseconds
        self.timed = []
        self.config = None

    def __call__(self, call, quantiles):
        call()
        self.timed.append(self.config)
        ms = self.milliseconds(self.config)
        return [ms, 0.9 * ms, 1.1 * ms]


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """Triton, torch, the kernels and `tuned`, which makes a tuned kernel with a benchmarker of its own."""
    torch = pytest.importorskip("torch")
    triton = pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    monkeypatch.setenv("TUNER_DB", str(tmp_path / "results.db"))
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    from tests.integrations import kernels
    from tuner.builders.triton.interpreter import scalars_are_indices

    # Triton before 3.7 with NumPy since 2.4; taken back after the test.
    patched = importlib.import_module("triton.runtime.interpreter")
    monkeypatch.setattr(patched, "_patch_lang_tensor", patched._patch_lang_tensor)
    scalars_are_indices()
    from tuner.integrations.triton import autotune

    def tuned(configs, function=kernels.add, key=("n",), milliseconds=None, **more):
        """A tuned kernel; the time of a configuration is its BLOCK, or what `milliseconds` says."""
        bench = Bench(milliseconds or (lambda config: float(config["BLOCK"])))
        kernel = autotune(configs, list(key), do_bench=bench, **more)(triton.jit(function))
        timed = kernel._call

        def watched(args, kwargs):
            call = timed(args, kwargs)

            def of(config):
                bench.config = {**config.kwargs, "num_warps": config.num_warps}
                return call.timed(config)

            return type(call)(call.name, call.arguments, of, call.attempt, call.do_bench)

        monkeypatch.setattr(kernel, "_call", watched)
        return kernel, bench

    def config(block, **more):
        warps = more.pop("num_warps", 4)
        return triton.Config({"BLOCK": block, **more}, num_warps=warps)

    return SimpleNamespace(
        torch=torch, triton=triton, kernels=kernels, tuned=tuned, config=config, db=tmp_path / "results.db"
    )


@pytest.fixture
def numbers(lab):
    """Two inputs of 100 numbers, and a buffer."""
    generator = lab.torch.Generator().manual_seed(1)
    x, y = (lab.torch.randn(100, generator=generator) for _ in range(2))
    return x, y, lab.torch.full((100,), 7.0)
